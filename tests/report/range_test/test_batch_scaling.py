"""What is said and drawn of how the LR scales with the batch size."""

from itertools import combinations

import numpy as np
import pytest

from lrtool.lr.batch_sizes import conclude_scaling
from lrtool.report.range_test.batch_scaling import draw_scaling, scaling_sentence
from lrtool.results import BatchScaling, BatchSizeTest

WOBBLE = (0.98, 1.0, 1.02)


def scaling(
    exponent: float, *, wobble: tuple[float, ...] = WOBBLE, sizes: tuple[int, ...] = (16, 32, 64)
) -> BatchScaling:
    return conclude_scaling(
        [
            BatchSizeTest(
                batch_size=size, seed=seed, base_lr=1e-3, max_lr=0.01 * size**exponent * factor,
                suggested_lr=0.003 * size**exponent * factor, confidence="high",
            )
            for size in sizes
            for seed, factor in enumerate(wobble)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("exponent", "verdict"),
    [
        (1.0, "linear scaling agrees with it, square-root scaling does not"),
        (0.5, "square-root scaling agrees with it, linear scaling does not"),
        (0.75, "neither linear nor square-root scaling agrees with it"),
        (0.0, "it hardly depends on the batch size, and neither linear nor square-root scaling agrees with it"),
    ],
)
def test_the_sentence_names_the_rule_of_thumb_that_the_interval_leaves(exponent: float, verdict: str) -> None:
    sentence = scaling_sentence(scaling(exponent))

    assert sentence.startswith(f"max_lr goes as batch size ^ {exponent:.2f} (95 %: ")
    assert sentence.endswith(f"; 9 tests); {verdict}.")


def test_an_interval_that_holds_both_rules_says_that_it_does() -> None:
    assert "too uncertain" in scaling_sentence(scaling(0.75, wobble=(0.5, 1.0, 2.0)))


def test_without_an_interval_or_a_law_that_is_said() -> None:
    assert "too few for an interval" in scaling_sentence(scaling(0.5, wobble=(1.0,), sizes=(16, 32)))
    assert "not known" in scaling_sentence(scaling(0.5, sizes=(16,)))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.97])
def test_the_plot_has_every_test_and_labels_that_do_not_meet(exponent: float) -> None:
    figure = draw_scaling(scaling(exponent))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    num_points = sum(np.size(line.get_ydata()) for line in axes.lines if line.get_marker() == "o")
    width, height = figure.canvas.get_width_height()
    boxes = [text.get_window_extent() for text in axes.texts]

    assert num_points == 9
    assert axes.get_title(loc="left").startswith("max_lr goes as batch size ^ ")
    assert {text.get_text() for text in axes.texts} >= {"linear scaling", "square-root scaling"}
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_one_size_is_drawn_without_a_law() -> None:
    assert not draw_scaling(scaling(0.5, sizes=(16,))).axes[0].texts
