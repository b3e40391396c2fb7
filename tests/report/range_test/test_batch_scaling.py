"""What is said and drawn of how the LR scales with the batch size."""

from dataclasses import replace
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


def without(found: BatchScaling, *missing: tuple[int, int]) -> BatchScaling:
    """Those tests, but at these pairs of batch size and seed without a suggestion."""
    nothing = {"base_lr": None, "max_lr": None, "suggested_lr": None, "confidence": "none"}
    return conclude_scaling(
        [replace(test, **nothing) if (test.batch_size, test.seed) in missing else test for test in found.tests]  # type: ignore[arg-type]
    )


def test_two_sizes_have_a_ratio_and_no_law() -> None:
    found = scaling(0.5, sizes=(16, 64))

    assert (found.max_lr, found.suggested_lr) == (None, None)
    assert scaling_sentence(found) == "max_lr at batch size 64 is 2 times that at 16; two sizes make no law."
    assert not draw_scaling(found).axes[0].texts


def test_of_one_size_that_is_said() -> None:
    assert "no law follows" in scaling_sentence(scaling(0.5, sizes=(16,)))
    assert "no law follows" in scaling_sentence(conclude_scaling([]))


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ([64], "Batch size 64 has no suggestion: no law follows."),
        ([16, 128], "Batch sizes 16 and 128 have no suggestion: no law follows."),
        ([16, 32, 64, 128], "Batch sizes 16, 32, 64 and 128 have no suggestion: no law follows."),
    ],
)
def test_no_law_follows_where_a_size_has_no_suggestion(missing: list[int], sentence: str) -> None:
    found = without(
        scaling(0.5, sizes=(16, 32, 64, 128)), *[(size, seed) for size in missing for seed in range(len(WOBBLE))]
    )

    assert (found.max_lr, found.suggested_lr) == (None, None)
    assert scaling_sentence(found) == sentence
    assert not draw_scaling(found).axes[0].texts


@pytest.mark.parametrize(("num_missing", "has_law"), [(1, True), (2, False)])
def test_a_size_has_a_suggestion_where_most_of_its_seeds_have_one(num_missing: int, has_law: bool) -> None:
    found = without(scaling(0.5), *[(64, seed) for seed in range(num_missing)])

    assert (found.max_lr is not None) is has_law
    assert scaling_sentence(found).startswith("max_lr goes as" if has_law else "Batch size 64 has no suggestion")


def test_a_law_of_an_older_run_that_its_tests_do_not_bear_is_not_shown() -> None:
    law = scaling(0.5).max_lr
    old = [
        replace(found, max_lr=law) for found in (scaling(0.5, sizes=(16, 32)), without(scaling(0.5), (64, 0), (64, 1)))
    ]

    assert not any("batch size ^" in scaling_sentence(each) or draw_scaling(each).axes[0].texts for each in old)


def test_three_sizes_of_one_seed_have_a_law_with_an_interval() -> None:
    law = scaling(0.5, wobble=(1.0,)).max_lr

    assert law is not None
    assert (law.low, law.high) == pytest.approx((0.5, 0.5))


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
