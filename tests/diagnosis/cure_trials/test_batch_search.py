"""The search for the largest size that fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtool.diagnosis.cure_trials.batch_search import Attempt, Found, search_largest


def search(per_sample: int, fixed: int, capacity: int, *, start: int = 32, granule: int = 1, **options: float) -> Found:
    """On a device where a batch takes `fixed` bytes and `per_sample` for each sample, in whole granules."""

    def attempt(size: int) -> Attempt:
        taken = -(-(fixed + per_sample * size) // granule) * granule
        return Attempt(fits=taken <= capacity, peak_bytes=taken)

    return search_largest(attempt, start=start, capacity_bytes=capacity, **options)  # type: ignore[arg-type]


@given(
    st.integers(1, 5000), st.integers(0, 10**6), st.integers(1, 10**7), st.integers(1, 10**4), st.sampled_from([1, 65536])
)  # fmt: skip
def test_what_is_found_fits_and_one_more_does_not(
    per_sample: int, fixed: int, capacity: int, start: int, granule: int
) -> None:
    found = search(per_sample, fixed, capacity, start=start, granule=granule)

    def taken(size: int) -> int:
        return -(-(fixed + per_sample * size) // granule) * granule

    if found.is_limit_reached:
        assert found.size == 0 or taken(found.size) <= capacity
        assert taken(found.size + 1) > capacity
    else:
        assert found.size == 2**20


def test_few_tries_are_enough_where_memory_is_proportional() -> None:
    found = search(1000, 10**6, 10**8)

    assert found.size == 99_000
    assert len(found.attempts) <= 10


def test_not_even_one_sample() -> None:
    assert search(1000, 10**6, 10**6, start=8) == Found(
        size=0, is_limit_reached=True, attempts=search(1000, 10**6, 10**6, start=8).attempts
    )


def test_where_the_size_does_not_matter_the_limit_is_said_not_to_be_reached() -> None:
    found = search(0, 10, 100, limit=1000)

    assert (found.size, found.is_limit_reached) == (1000, False)


def test_a_coarse_search_ends_early_and_still_gives_a_size_that_fits() -> None:
    found = search(1000, 10**6, 10**8, start=50_000, resolution=1 / 32)

    assert 99_000 * (1 - 1 / 32) <= found.size <= 99_000


@pytest.mark.parametrize("capacity", [10_000, 123_456])
def test_out_of_memory_at_a_try_leaves_no_figure_and_the_search_goes_on(capacity: int) -> None:
    def attempt(size: int) -> Attempt:
        fits = 100 * size <= capacity
        return Attempt(fits=fits, peak_bytes=100 * size if fits else None)

    assert search_largest(attempt, start=4096, capacity_bytes=capacity).size == capacity // 100
