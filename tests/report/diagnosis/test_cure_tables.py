"""Cures and the largest batch in the terminal."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from lrtool.report.diagnosis.cure_tables import cure_answer, cure_lines, max_batch_answer, max_batch_lines
from lrtool.results import CureFigures, Cures
from tests.diagnosis.cure_trials.made_cures import cures, effect, figures, max_batch


def text_of(parts: list[RenderableType]) -> str:
    file = StringIO()
    console = Console(file=file, width=80)
    for part in parts:
        console.print(part)
    return file.getvalue()


def row(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(name)).removeprefix(name).split()


def test_a_row_says_bytes_time_loss_and_whether_it_fits() -> None:
    text = text_of(cure_lines(cures()))

    assert row(text, "gradient accumulation") == ["210", "MiB", "220", "MiB", "1.00x", "ops", "+2.0e-04", "yes"]
    assert row(text, "activation checkpointing") == ["150", "MiB", "160", "MiB", "1.33x", "ops", "0", "no"]
    assert row(text, "bf16 autocast") == ["140", "MiB", "150", "MiB", "-", "-0.0213", "no"]
    assert row(text, "roundup_power2_divisions") == ["-90.0", "MiB", "-80.0", "MiB", "-", "-", "no"]
    assert row(text, "the best together") == ["300", "MiB", "310", "MiB", "-", "-", "yes"]


def test_how_to_apply_what_helps_and_why_the_rest_does_not() -> None:
    text = text_of(cure_lines(cures()))

    assert "    use(accumulation)" in text
    assert "use(foreach-off)" not in text
    assert "8-bit optimizer state" in text
    assert "failed: it was killed by SIGSEGV" in text
    assert "not a time by" in text
    assert "really computed on the cpu" in " ".join(text.split())


def test_everything_fits_80_columns() -> None:
    for parts in (cure_lines(cures()), max_batch_lines(max_batch())):
        text = text_of(parts)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text


HELPS = (effect("bf16", "bf16 autocast", 250),)
FITS: CureFigures = figures(150, fits=True)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (cures(), "Fits 200 MiB with gradient accumulation, which saves 220 MiB of 400 MiB reserved."),
        (cures(effects=HELPS), "Fits 200 MiB with gradient accumulation + activation checkpointing + bf16 autocast, which"),
        (cures(effects=HELPS, together=None), "Nothing tried fits 200 MiB; bf16 autocast comes nearest, which saves 150 MiB"),
        (cures(baseline=FITS, effects=HELPS, together=None), "Most is saved by bf16 autocast"),
        (cures(effects=(), together=None), "No cure that was tried uses less memory here."),
        (cures(capacity_bytes=None, baseline=replace(FITS, fits=None)), "Most is saved by gradient accumulation +"),
    ],
    ids=["one fits", "together fit", "none fits", "fits anyway", "none helps", "no capacity"],
)  # fmt: skip
def test_the_answer_is_what_to_do(made: Cures, says: str) -> None:
    assert cure_answer(made).startswith(says)


def test_the_largest_batch_in_one_sentence() -> None:
    assert max_batch_answer(max_batch()) == (
        "The largest batch that fits 96.0 MiB has 96 samples (predicted); a sample uses 1.00 MiB."
    )
    assert "confirmed by running it" in max_batch_answer(max_batch(is_confirmed=True))
    assert max_batch_answer(max_batch(batch_size=None)) == "Not even one sample at a time fits 96.0 MiB."
    assert "larger ones were not tried" in max_batch_answer(max_batch(is_limit_reached=False))


def test_every_size_that_was_tried_has_a_row() -> None:
    text = text_of(max_batch_lines(max_batch()))

    assert [line.split()[0] for line in text.splitlines() if line.endswith("predicted")] == [
        "32",
        "64",
        "96",
        "97",
        "128",
    ]
