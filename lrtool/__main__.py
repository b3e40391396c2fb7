"""`python -m lrtool`."""

import os
import sys

try:
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()):  # noqa: PTH109  as little as can be
        sys.path.append(sys.path.pop(0))  # the user's files are no library's
except OSError:  # the folder is not there any more, which is told below
    pass

from lrtool.entry import run

if __name__ == "__main__":
    run()
