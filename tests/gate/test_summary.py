"""A run condensed: the figures of its conditions, and what must agree for them to compare."""

from dataclasses import replace
from pathlib import Path

import pytest

from lrtool.errors import UsageError
from lrtool.gate.baseline_file import MAX_BASELINE_BYTES, baseline_json, read_baseline
from lrtool.gate.summary import MEASURES, summarize
from lrtool.results import METRICS
from tests.sweep.made_sweeps import flat, noisy_axes, nothing, run_of, story
from tests.sweep.made_trials import MIB


def test_a_case_for_each_condition_with_the_worst_of_its_repeats() -> None:
    made, _ = flat(repeats=2)
    higher = replace(made.trials[0], max_memory_allocated_bytes=9 * MIB)
    summary = summarize(run_of(replace(made, trials=(higher, *made.trials[1:]))))

    assert [case.condition["step_size_up"] for case in summary.cases] == ["20", "30", "40"]
    assert [case.num_repeats for case in summary.cases] == [2, 2, 2]
    peak = summary.cases[0].figures["peak_allocated"]
    assert (peak.value, peak.noise) == (9 * MIB, 4 * MIB)
    assert summary.cases[1].figures["peak_allocated"].noise == 0


def test_figures_of_the_story() -> None:
    cases = summarize(run_of(story()[0])).cases

    assert [case.status for case in cases] == ["ok", "ok", "oom"]
    assert cases[2].trouble == "out of memory at step 6,625 of 7,000"
    assert [case.figures["out_of_memory"].value for case in cases] == [0, 0, 1]
    assert {case.figures["growth"].value for case in cases} == {3_753_903}


def test_trials_that_failed_have_no_peaks() -> None:
    failed = [case for case in summarize(run_of(noisy_axes()[0])).cases if case.status == "failed"]

    assert [case.trouble for case in failed] == ["failed: KeyError: 'x'"]
    assert not set(failed[0].figures) & {"peak_allocated", "peak_reserved", "fragmentation", "growth"}
    assert all(case.status == "oom" for case in summarize(run_of(nothing()[0])).cases)


def test_arguments_of_build_are_conditions() -> None:
    assert {case.condition["batch_size"] for case in summarize(run_of(noisy_axes()[0])).cases} == {"64", "256"}


def test_a_prediction_depends_on_torch_but_not_on_its_build() -> None:
    run = run_of(flat()[0])
    built = [
        replace(run, environment=replace(run.environment, torch=version)) for version in ("2.13.0+cpu", "2.13.0+cu126")
    ]

    assert {summarize(each).facts["torch"] for each in built} == {"2.13.0"}


def test_a_measurement_depends_on_the_gpu_the_build_and_the_allocator() -> None:
    run = run_of(noisy_axes()[0])
    environment = replace(
        run.environment,
        torch="2.13.0+cu126",
        cuda="12.6",
        device_name="NVIDIA H100",
        allocator_settings="backend:native",
    )
    facts = summarize(replace(run, environment=environment)).facts

    assert facts == {
        "recorder": "cuda", "target": "train.py:build", "GPU": "NVIDIA H100", "torch": "2.13.0+cu126", "CUDA": "12.6",
        "allocator variable": "backend:native",
    }  # fmt: skip


def test_a_target_is_named_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    made, _ = flat()
    inside = run_of(replace(made, target=str(Path.cwd() / "src/model.py:build")))
    outside = run_of(replace(made, target="/home/somebody/model.py:build"))

    assert summarize(inside).facts["target"] == "src/model.py:build"
    assert summarize(outside).facts["target"] == "model.py:build"


def test_every_metric_is_measured_by_a_command_and_no_other_is() -> None:
    assert set().union(*MEASURES.values()) == set(METRICS)
    for made in (story(), flat(repeats=2)):
        measured = {name for case in summarize(run_of(made[0])).cases for name in case.figures}
        assert measured <= MEASURES["mem-sweep"]


def test_a_baseline_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    summary = summarize(run_of(story()[0]))
    (tmp_path / "b.json").write_text(baseline_json(summary))

    assert read_baseline(tmp_path / "b.json") == summary
    assert (tmp_path / "b.json").stat().st_size < 16_384


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the document"),
        (b"{", "the document"),
        (b"[]", "the document"),
        (b'{"kind": "lrtool-baseline", "schema": 99}', "schema"),
        (b'{"kind": "other"}', "kind"),
        (b"\x00\xff" * 50, "the document"),
        (b" " * (MAX_BASELINE_BYTES + 1), "is larger than 32 MiB"),
    ],
    ids=["empty", "cut", "list", "schema", "kind", "bytes", "huge"],
)
def test_a_damaged_baseline_is_an_error_that_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "b.json").write_bytes(content)

    with pytest.raises(UsageError, match=message) as caught:
        read_baseline(tmp_path / "b.json")
    assert "b.json" in caught.value.message
