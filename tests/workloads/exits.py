"""Calls sys.exit in build."""

import sys


def build():
    sys.exit(7)
