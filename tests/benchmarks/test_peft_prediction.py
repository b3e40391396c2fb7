"""What the fine-tuning benchmark reads, fits nothing to, and reports; the tracing itself needs transformers and peft."""

from pathlib import Path

import pytest

from benchmarks.peft_methods import METHODS
from benchmarks.peft_prediction import (
    DATA,
    FIT_ROW,
    WHY_NOT,
    Outcome,
    Row,
    _differences,
    _summary,
    num_images,
    read_rows,
)
from benchmarks.peft_training import BATCH, batch_of

MIB = 2**20
CSV = """\
task,file,trainable,total,reserved_max
MetaMathQA,lora--llama-3.2-3B-rank32.json,9175040,3221924864,22292725760
image-gen,boft--flux2-klein-default.json,2119680,3877664256,17368612864
"""


def row(name: str, mebibytes: int) -> Row:
    return Row(name=name, measured=mebibytes * MIB, trainable=1, total=2)


def test_rows_of_language_models_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(CSV)

    assert read_rows(path) == [Row(name=FIT_ROW, measured=22292725760, trainable=9175040, total=3221924864)]
    assert num_images(path) == 1


@pytest.mark.skipif(not DATA.is_file(), reason="the published measurements are not there")
def test_every_published_row_has_its_settings() -> None:
    names = [each.name for each in read_rows(DATA)]

    assert sorted(names) == sorted(METHODS)
    assert set(WHY_NOT) < set(names)


def test_only_one_row_is_fitted() -> None:
    assert [name for name in METHODS if row(name, 1).split == "fit"] == [FIT_ROW]


def test_a_batch_is_padded() -> None:
    lengths = batch_of(700)

    assert len(lengths) == BATCH
    assert max(lengths) == 700
    assert min(lengths) < 700


def test_errors_are_signed_and_summed_up_by_half() -> None:
    low = Outcome(row=row("ia3--default", 200), predicted=190 * MIB)
    high = Outcome(row=row("boft--default", 100), predicted=101 * MIB)

    assert low.error == pytest.approx(-0.05)
    assert _summary("table", [low, high]) == "| table | 2 | 0 | 1.00% | 5.00% | 5.00% | 95.00% |"


def test_differences_are_taken_to_the_fitted_row() -> None:
    base = Outcome(row=row(FIT_ROW, 100), predicted=100 * MIB)
    other = Outcome(row=row("ia3--default", 200), predicted=190 * MIB)

    assert _differences([base, other])[1] == (
        "| ia3--default | table | 200 MiB | 190 MiB | -5.00% | +100 MiB | +90 MiB |"
    )
