"""`python -m lrtool`."""

from lrtool.entry import run

if __name__ == "__main__":
    run()
