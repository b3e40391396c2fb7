"""build has an argument without a default."""

from good import build as good


def build(width):
    return good(width=width)
