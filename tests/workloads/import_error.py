"""Imports what is not installed."""

import no_such_package_at_all


def build():
    return no_such_package_at_all.setup()
