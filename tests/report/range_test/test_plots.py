"""What the plot of a range test shows."""

from dataclasses import replace
from itertools import combinations

from matplotlib.axes import Axes

from lrtool.report.figures import figure_bytes
from lrtool.report.range_test.plots import draw_curve
from lrtool.results import RangeTest, RulePick
from tests.report.made_runs import range_test


def axes_of(result: RangeTest) -> Axes:
    figure = draw_curve(result)
    figure_bytes(figure, "svg")
    return figure.axes[0]


def texts(axes: Axes) -> str:
    return "\n".join([axes.get_title(loc="left"), *(text.get_text() for text in axes.texts)])


def test_the_title_states_the_finding_and_the_axes_their_unit() -> None:
    axes = axes_of(range_test())

    assert axes.get_title(loc="left").startswith("model.py: cycle between ")
    assert axes.get_xlabel() == "learning rate (log scale)"
    assert axes.get_xscale() == "log"
    assert axes.get_legend() is None


def test_the_three_learning_rates_have_markers_of_their_own_shape() -> None:
    axes = axes_of(range_test())
    shapes = {line.get_marker() for line in axes.lines} - {"None"}

    assert shapes == {"^", "D", "s"}
    assert all(name in texts(axes) for name in ("base_lr", "max_lr", "suggested_lr"))


def test_divergence_is_hatched_and_said() -> None:
    diverged, whole = axes_of(range_test(stopped="diverged")), axes_of(range_test())

    assert any(patch.get_hatch() for patch in diverged.patches)
    assert "diverged" in texts(diverged)
    assert not any(patch.get_hatch() for patch in whole.patches)


def test_a_curve_without_a_suggestion_says_so() -> None:
    axes = axes_of(range_test(flat=True))

    assert axes.get_title(loc="left").startswith("No suggestion: ")
    assert "max_lr" not in texts(axes)


def test_repeats_are_a_band() -> None:
    assert "median of 3 (band: lowest to highest)" in texts(axes_of(range_test(repeats=3)))


def test_other_rules_are_ticks_on_a_strip_below_each_at_its_own_learning_rate() -> None:
    picks = tuple(
        RulePick(finder="fastai", version="2.8.12", rule=rule, lr=lr, why_none=None if lr else "too short")
        for rule, lr in (("valley", 1e-3), ("steep", 0.5), ("slide", 1e4), ("minimum", None))
    )
    figure = draw_curve(replace(range_test(), rules=picks))
    figure_bytes(figure, "png")
    curve, strip = figure.axes
    width, height = figure.canvas.get_width_height()
    boxes = [text.get_window_extent() for text in strip.texts]

    assert strip.get_xlim() == curve.get_xlim()
    assert [line.get_xdata()[0] for line in strip.lines] == [1e-3, 0.5]  # type: ignore[index]
    assert "fastai slide 1e+04 >" in texts(strip)
    assert "fastai minimum none" in texts(strip)
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_labels_stay_inside_the_figure() -> None:
    figure = draw_curve(range_test(stopped="diverged"))
    figure_bytes(figure, "png")
    width, height = figure.canvas.get_width_height()
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height


def test_equal_results_give_equal_files() -> None:
    for kind in ("png", "svg"):
        assert figure_bytes(draw_curve(range_test()), kind) == figure_bytes(draw_curve(range_test()), kind)
