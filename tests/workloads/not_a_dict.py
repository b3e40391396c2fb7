"""Returns a list."""

from good import build as good


def build():
    return [good()]
