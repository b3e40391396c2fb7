"""What the table of public measurements reads, sums up and says; the predictions themselves need packages of others."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.public_rows import (
    Comparison,
    Prediction,
    far_rows,
    left_out_table,
    median,
    read_amp,
    read_inference,
    read_xmem,
    rows_table,
    sets_table,
    summary,
)
from benchmarks.public_sets import SETS, Case, cases_of, predicted_peaks
from benchmarks.public_truth import compared, missing_data, report
from lrtool.memory.allocator.versions import TorchVersion

MIB = 2**20
XMEM = """\
model,optimizer,batch,gpu,truth,oom,path
VGG16,Adam,10,RTX3060,104857600,0,here
VGG19,SGD,900,RTX3060,12884901888,1,there
"""
AMP = """\
model,gpu,torch,batch_size,seq_len or image_size,precision,optimizer,peak_allocated_bytes,peak_reserved_bytes,context_bytes
resnet50,t4,2.11.0+cu128,16,224,autocast,AdamW,1119203840,1195376640,141426688
"""
INFERENCE = """\
workload,gpu,versions,quantity,MB(1e6),source
"resnet50 inference, load",A10G,,max_allocated,102.475264,here
"resnet50 inference, forward",A10G,,max_global_vram,798.490624,here
"resnet50 inference, forward",AMD (rocm6.1),,max_allocated,113.51808,there
"""


def row(likely: int | None = None, interval: tuple[int, int] | None = None, *, group: str = "one") -> Comparison:
    prediction = None if likely is None else Prediction(likely_bytes=likely * MIB, interval=interval)
    return Comparison(group=group, name="a run", truth_bytes=100 * MIB, prediction=prediction)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_row_is_compared_by_its_ratio_and_its_interval() -> None:
    low = row(90, (80 * MIB, 110 * MIB))

    assert low.ratio == pytest.approx(0.9)
    assert low.error == pytest.approx(0.1)
    assert low.is_inside is True
    assert low.width == pytest.approx(1 / 3)
    assert row(90, (80 * MIB, 99 * MIB)).is_inside is False
    assert row(90, (80 * MIB, 399 * MIB // 4)).is_inside is True  # both are shown as 100 MiB


def test_without_an_interval_or_a_prediction_nothing_is_said_of_it() -> None:
    assert (row(90).is_inside, row(90).width) == (None, None)
    assert (row().ratio, row().error, row().is_inside) == (None, None, None)


def test_the_median_of_an_even_number_is_the_mean_of_both() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    assert median([]) is None


def test_a_set_is_summed_up() -> None:
    rows = [row(90, (80 * MIB, 110 * MIB)), row(101, (80 * MIB, 99 * MIB)), row(103), row()]

    # errors 10, 1 and 3 %; one of two truths inside; widths 30/90 and 19/101
    assert summary("one", rows) == "| one | 4 | 3 | 3.00% | 10.00% | 2 | 50.00% | 26.07% |"
    assert summary("none", [row()]) == "| none | 1 | 0 | - | - | 0 | - | - |"


def test_all_sets_and_their_total_are_listed() -> None:
    lines = sets_table([row(100), row(98, group="other")]).splitlines()

    assert [line.split(" | ")[0] for line in lines[2:]] == ["| one", "| other", "| **all**"]


def test_rows_show_their_ends_where_they_have_some_and_else_why_there_is_no_prediction() -> None:
    lines = rows_table([row(90, (80 * MIB, 110 * MIB)), row(90), replace(row(), why_not="no torchvision")]).splitlines()

    assert lines[2:] == [
        "| one | a run | 100 MiB | 90.0 MiB | 80.0 MiB | 110 MiB | 0.9000 |",
        "| one | a run | 100 MiB | 90.0 MiB | - | - | 0.9000 |",
        "| one | a run | 100 MiB | - | - | - | no torchvision |",
    ]


def test_rows_that_are_far_off_are_found() -> None:
    assert far_rows([row(94), row(96), row(104), row(106), row()]) == [row(94), row(106)]


def test_runs_that_ended_out_of_memory_are_no_truth(tmp_path: Path) -> None:
    (only,) = read_xmem(written(tmp_path / "xmem.csv", XMEM))

    assert (only.name, only.truth_bytes) == ("VGG16, Adam, batch 10, RTX3060", 100 * MIB)


def test_the_rows_of_amp_and_of_inference_are_read(tmp_path: Path) -> None:
    (amp,) = read_amp(written(tmp_path / "amp.csv", AMP))
    load, forward, _ = read_inference(written(tmp_path / "inference.csv", INFERENCE))

    assert (amp.name, amp.reserved_bytes, amp.torch) == ("resnet50, 16 x 224", 1195376640, "2.11.0+cu128")
    assert load.truth_bytes == 102_475_264
    assert forward.quantity == "max_global_vram"


def test_what_is_no_part_of_a_prediction_is_not_predicted(tmp_path: Path) -> None:
    written(tmp_path / SETS["inference"].path, INFERENCE)

    cases, _ = cases_of("inference", tmp_path)

    assert [case.row.why_not is None or "needs timm" in case.row.why_not for case in cases] == [True, False, False]
    assert "context" in (cases[1].row.why_not or "")
    assert "AMD" in (cases[2].row.why_not or "")


def test_a_set_without_its_files_says_which(tmp_path: Path) -> None:
    for name, each in SETS.items():
        cases, missing = cases_of(name, tmp_path)
        assert cases == []
        assert each.path in (missing or "")


def test_a_set_without_its_packages_has_rows_without_a_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / SETS["xmem"].path, XMEM)
    monkeypatch.setitem(SETS, "xmem", replace(SETS["xmem"], packages=("no_such_package",)))

    (case,), missing = cases_of("xmem", tmp_path)

    assert missing == "needs no_such_package"
    assert (case.predict, case.row.why_not, case.row.truth_bytes) == (None, "needs no_such_package", 100 * MIB)


def test_without_data_it_is_said_what_is_missing(tmp_path: Path) -> None:
    assert "--data" in (missing_data(None) or "")
    assert "is not there" in (missing_data(tmp_path / "nowhere") or "")
    assert missing_data(tmp_path) is None


def test_a_prediction_is_kept_and_not_made_again(tmp_path: Path) -> None:
    store = tmp_path / "store.jsonl"
    case = Case(row=row(), predict=lambda: Prediction(likely_bytes=90 * MIB, interval=(80 * MIB, 99 * MIB)))

    first = compared(case, {}, store)
    kept = {case.key: {"key": case.key, "likely_bytes": 80 * MIB, "interval": [70 * MIB, 90 * MIB]}}
    second = compared(case, kept, store)

    assert first.prediction == Prediction(likely_bytes=90 * MIB, interval=(80 * MIB, 99 * MIB))
    assert second.prediction == Prediction(likely_bytes=80 * MIB, interval=(70 * MIB, 90 * MIB))
    assert len(store.read_text().splitlines()) == 1


def test_an_error_is_why_a_row_has_no_prediction(tmp_path: Path) -> None:
    def fail() -> Prediction:
        raise ValueError("no such layer\nand more")

    found = compared(Case(row=row(), predict=fail), {}, tmp_path / "store.jsonl")

    assert found.why_not == "ValueError: no such layer"
    assert not (tmp_path / "store.jsonl").exists()


def test_the_report_lists_what_is_far_off_and_what_is_left_out() -> None:
    text = report([row(90), replace(row(), why_not="no history")])

    assert "| one | a run | 100 MiB | 90.0 MiB | - | - | 0.9000 |" in text
    assert "| one | 1 | a run: no history |" in text


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    rows = [replace(row(group=group), why_not=why) for group, why in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"))]

    assert left_out_table([*rows, row(90)]).splitlines()[2:] == [
        "| a | 2 | x |",
        "| a | 1 | a run: y |",
        "| b | 1 | a run: x |",
    ]


def test_a_program_is_predicted_on_a_card() -> None:
    def program() -> object:
        x = torch.zeros(1024, 1024, device="cuda")
        yield
        y = x + x
        yield
        del y

    peaks = predicted_peaks(program, "rtx3060", TorchVersion(2, 6))  # type: ignore[arg-type]

    assert peaks["allocated_bytes"] == Prediction(likely_bytes=8 * MIB, interval=(8 * MIB, 8 * MIB))
    assert peaks["reserved_bytes"] == Prediction(likely_bytes=20 * MIB, interval=(20 * MIB, 20 * MIB))
