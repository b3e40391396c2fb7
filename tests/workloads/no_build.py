"""The factory has another name."""

from good import build as good


def biuld():
    return good()
