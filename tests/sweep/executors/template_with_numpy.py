"""A template that has imported what some versions of numpy import with themselves: the generator that nobody seeds anew."""

import numpy.random  # noqa: F401

from lrtool.sweep.executors.template_process import main

if __name__ == "__main__":
    main()
