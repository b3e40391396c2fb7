"""What the plots of a sweep show, and that nothing of it is cut off."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrtool.report.figures import GREEN, VERMILLION
from lrtool.report.files import write_files
from lrtool.report.sweep.plots import MAX_POINTS, draw_peaks, draw_steps
from lrtool.results.stored.trial_dir import trial_dir, write_series
from tests.sweep.made_sweeps import CAPACITY, Made, flat, noisy_axes, nothing, run_of, story
from tests.sweep.made_trials import GIB

ALL = {"story": story(), "flat": flat(repeats=2, capacity=CAPACITY), "axes": noisy_axes(), "none": nothing()}


def texts(figure: Figure) -> str:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return "\n".join([figure.get_suptitle(), *(axes.get_title(loc="left") for axes in figure.axes), *inside])


def drawn_line(axes: Axes, color: str) -> tuple[list[float], list[float]]:
    """The first line of a colour, as its points."""
    line = next(line for line in axes.lines if line.get_color() == color)
    return [float(x) for x in np.asarray(line.get_xdata())], [float(y) for y in np.asarray(line.get_ydata())]


def test_steps_are_small_multiples_with_the_same_axes() -> None:
    figure = draw_steps(*story())

    assert len(figure.axes) == 3
    assert len({axes.get_ylim() for axes in figure.axes}) == len({axes.get_xlim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_ylabel() == "GiB"


def test_the_story_is_told_by_its_plot() -> None:
    said = texts(draw_steps(*story()))

    assert said.startswith(
        "At equal steps all step sizes use the same memory;\nit grows 3.58 MiB per step: 24.0 GiB full"
    )
    assert "step size 3500: out of memory at step 6,625 of 7,000 (predicted)" in said
    assert said.count("capacity 24.0 GiB") == said.count("grows 3.58 MiB per step (dashed: fit)") == 3
    assert said.count("out of memory\n") + said.endswith("out of memory") == 1
    assert "peak reserved 21.7 GiB" in said


def test_the_fit_lies_on_the_end_of_the_steps() -> None:
    result, series = story()
    (_, x), (_, y) = drawn_line(draw_steps(result, series).axes[0], GREEN)

    assert x == 7000
    assert y * GIB == pytest.approx(series[0].allocated_bytes[0] + 6999 * 3_753_903, rel=1e-6)


def test_many_steps_are_thinned_without_losing_the_peak() -> None:
    result, series = story()
    x, y = drawn_line(draw_steps(result, series).axes[2], VERMILLION)

    assert MAX_POINTS / 2 < len(x) <= MAX_POINTS
    assert max(y) * GIB == max(series[2].reserved_bytes)


def test_equal_steps_look_equal_however_long_a_run_is() -> None:
    result, series = story()
    panels = draw_steps(result, series).axes
    (_, short), (_, long) = drawn_line(panels[0], VERMILLION), drawn_line(panels[1], VERMILLION)

    assert short[:-1] == long[: len(short) - 1]


def test_peaks_have_a_marker_of_their_own_and_the_dead_one_a_cross() -> None:
    axes = draw_peaks(story()[0]).axes[0]
    shapes = [line.get_marker() for line in axes.lines]

    assert (shapes.count("s"), shapes.count("o"), shapes.count("X")) == (2, 3, 1)
    assert "23.9 GiB, then OOM" in texts(draw_peaks(story()[0]))


def test_other_axes_are_columns() -> None:
    figure = draw_peaks(noisy_axes()[0])

    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["batch_size 64", "batch_size 256"]
    assert "failed" in texts(figure)


@pytest.mark.parametrize("name", ALL)
def test_no_text_leaves_the_figure(name: str) -> None:
    for figure in (draw_steps(*ALL[name]), draw_peaks(ALL[name][0])):
        figure.draw_without_rendering()
        width, height = figure.canvas.get_width_height()
        for text in [*(text for axes in figure.axes for text in axes.texts), *figure.texts]:
            box = text.get_window_extent()
            assert box.x0 >= 0, text
            assert box.x1 <= width, text
            assert box.y0 >= 0, text
            assert box.y1 <= height, text


def written(made: Made, run_dir: Path) -> Path:
    result, series = made
    for number, steps in series.items():
        trial_dir(run_dir, number).mkdir(parents=True)
        write_series(run_dir, number, steps)
    write_files(run_dir, run_of(result))
    return run_dir


@pytest.mark.painted
@pytest.mark.parametrize("name", ALL)
def test_everything_is_made_from_the_run_directory(name: str, tmp_path: Path) -> None:
    written(ALL[name], tmp_path)

    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "steps.png", "steps.svg", "peaks.png", "peaks.svg", "trials.csv",
    }  # fmt: skip
    assert (tmp_path / "steps.png").exists()


def test_the_table_has_full_precision(tmp_path: Path) -> None:
    result, _ = story()
    table = pd.read_csv(written(story(), tmp_path) / "trials.csv")

    assert list(table["max_memory_reserved_bytes"]) == [trial.max_memory_reserved_bytes for trial in result.trials]
    assert list(table["step_size_up"]) == [2500, 3000, 3500]
    assert list(table["growth_bytes_per_step"]) == [3_753_903] * 3
    assert list(table["death_step"].dropna()) == [6625]


def test_thousands_of_steps_are_drawn_as_some_hundred_points() -> None:
    made = story((3500, 3501, 3502))
    numbers = [len(np.asarray(line.get_xdata())) for axes in draw_steps(*made).axes for line in axes.lines]

    assert sum(numbers) > 3 * 300
    assert max(numbers) <= MAX_POINTS
