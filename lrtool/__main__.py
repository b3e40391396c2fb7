"""`python -m lrtool`."""

from lrtool.cli import run

if __name__ == "__main__":
    run()
