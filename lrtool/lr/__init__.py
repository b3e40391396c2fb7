"""Learning rates: the range test, what its curve suggests, and the arithmetic of the cycle that uses it."""
