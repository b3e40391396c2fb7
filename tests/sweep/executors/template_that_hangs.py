"""A template that never comes to its first request."""

import time

if __name__ == "__main__":
    time.sleep(600)
