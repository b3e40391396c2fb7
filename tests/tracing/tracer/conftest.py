"""Traces look for what refers to tensors, and so do these tests, over all objects of the process."""

import pytest

from tests.conftest import shrink_heap


@pytest.fixture(autouse=True)
def small_heap_for_each() -> None:
    shrink_heap()
