"""A script that ends itself."""

import sys

sys.exit("done")
