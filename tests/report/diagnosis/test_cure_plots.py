"""What the plot of cures shows."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lrtool.report.diagnosis.cure_plots import draw_cures, front_of, points_of, spread
from lrtool.report.figures import figure_bytes
from tests.diagnosis.cure_trials.made_cures import cures, effect, figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    assert front_of([(1.0, 100), (1.3, 60), (1.4, 70), (None, 10), (1.0, 120)]) == {0, 1}
    assert front_of([(1.0, 100), (1.0, 100)]) == {0, 1}
    assert front_of([]) == set()


def test_known_times_stand_left_with_their_front_and_unknown_ones_right() -> None:
    figure = draw_cures(cures())
    left, right = figure.axes
    said = texts(figure)

    assert figure.get_suptitle().startswith("Fits 200 MiB with gradient accumulation")
    assert "by floating-point operations" in left.get_xlabel()
    assert right.get_xlabel() == "time not known"
    assert {text.get_text().partition("  ")[0] for text in right.texts} >= {"bf16 autocast", "the best together"}
    assert "activation checkpointing  240 MiB" in said
    assert said.count("capacity 200 MiB") == 2
    assert not any("foreach" in text for text in said)


def test_on_the_front_stands_what_is_neither_slower_nor_larger() -> None:
    assert [point.name for point in points_of(cures()) if point.is_on_front] == ["gradient accumulation"]


@given(st.lists(st.floats(0, 1000), max_size=12).map(sorted), st.floats(0.1, 50))
def test_labels_are_kept_apart_and_in_order(heights: list[float], distance: float) -> None:
    placed = spread(heights, distance=distance)

    assert all(after - before >= distance - 1e-6 for before, after in pairwise(placed))
    assert all(at >= height for at, height in zip(placed, heights, strict=True))


@pytest.mark.parametrize(
    "made",
    [
        cures(),
        cures(effects=(), together=None),
        cures(capacity_bytes=None),
        cures(capacity_bytes=2**40),
        cures(baseline=figures(90000), effects=tuple(effect(f"c{n}", f"cure {n}", 80000) for n in range(12))),
    ],
    ids=["usual", "nothing", "no capacity", "far capacity", "crowded"],
)
def test_every_result_can_be_drawn_and_equal_ones_give_equal_files(made: object) -> None:
    first, second = (figure_bytes(draw_cures(made), "svg") for _ in range(2))  # type: ignore[arg-type]

    assert first == second
