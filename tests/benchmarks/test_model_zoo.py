"""The zoo's table, what it makes of processes that end early, and how one small model goes through it."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import model_zoo
from benchmarks.zoo.entry import Entry, Setup, classification, training
from benchmarks.zoo.table import Result, report, result_of

MIB = 2**20


def test_a_model_that_went_through_is_compared_with_the_cpu() -> None:
    kept = {
        "key": "library/model", "seconds": 3.2, "ended": None, "predicted": {"bytes": 40 * MIB}, "bare": {"bytes": 8 * MIB},
        "cpu": {"bytes": 10 * MIB},
    }  # fmt: skip
    found = result_of(kept)

    assert found.outcome == "predicted"
    assert found.difference == pytest.approx(-0.2)


def test_an_error_is_told_with_its_line() -> None:
    kept = {
        "key": "library/model", "ended": None, "predicted": {"error": "TypeError: no", "place": "a/b.py:3"},
        "bare": {"error": "TypeError: no", "place": "a/b.py:3"}, "cpu": {"bytes": 10},
    }  # fmt: skip

    assert result_of(kept).outcome == "not predicted: TypeError: no (a/b.py:3)"
    assert result_of(kept).difference is None


def test_a_process_that_ended_early_is_told_by_how_it_ended() -> None:
    late = {"key": "a", "ended": "took more than 9 s", "predicted": {"bytes": 3}}
    killed = {"key": "b", "ended": "ended with -9"}

    assert result_of(late).outcome == "predicted; on the CPU: took more than 9 s"
    assert result_of(killed).outcome == "runs on neither: ended with -9"


def test_what_is_missing_is_skipped_with_the_reason() -> None:
    no_package = {"key": "a", "skipped": "needs timm"}
    no_operators = {"key": "b", "ended": None, "predicted": {"error": "OperatorsMissing: no boxes", "place": "x:1"}}

    assert result_of(no_package).outcome == "skipped: needs timm"
    assert result_of(no_operators).outcome == "skipped: no boxes"


def test_the_report_counts_outcomes() -> None:
    results = [
        Result(name="a", predicted_bytes=40 * MIB, bare_bytes=10 * MIB, cpu_bytes=10 * MIB, seconds=2.0),
        Result(name="b", skipped="needs timm"),
    ]

    lines = report(results).splitlines()

    assert lines[0] == "2 models: 1 predicted, 1 skipped. 1 of 1 are within 1% of the CPU."
    assert lines[4] == "| a | 40.0 MiB | 10.0 MiB | 10.0 MiB | +0.00% | 2 | predicted |"
    assert lines[5] == "| b | - | - | - | - | - | skipped: needs timm |"


def test_there_are_sixty_models_and_each_has_a_name_of_its_own() -> None:
    names = [entry.name for entry in model_zoo.entries()]

    assert len(names) >= 60
    assert len(set(names)) == len(names)


def small() -> Setup:
    return classification(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)), image=(3, 8, 8))


def broken() -> Setup:
    return training(nn.Linear(4, 4), torch.zeros(2, 4), lambda model, batch: model(batch.view(3)).sum())


def stages(build: Callable[[], Setup]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    model_zoo.trace_in_here(Entry(name=build.__name__, packages=(), build=build), told.append)
    return told


def test_a_model_is_predicted_and_run() -> None:
    predicted, bare, cpu = stages(small)

    assert [each["stage"] for each in (predicted, bare, cpu)] == ["predicted", "bare", "cpu"]
    assert predicted["bytes"] > bare["bytes"]
    assert abs(bare["bytes"] - cpu["bytes"]) <= 1024  # a scalar that one side has


def test_a_model_that_fails_is_told_with_the_line_of_its_own() -> None:
    predicted, _, cpu = stages(broken)

    assert "shape '[3]' is invalid" in predicted["error"]
    assert predicted["place"].startswith("tests/benchmarks/test_model_zoo.py:")
    assert "bytes" not in cpu


def tells_and_sleeps(_entry: Entry, tell: Callable[[dict[str, Any]], None]) -> None:
    tell({"stage": "predicted", "bytes": 5})
    time.sleep(60)


def ends_at_once(_entry: Entry, _tell: Callable[[dict[str, Any]], None]) -> None:
    os._exit(3)


def test_a_model_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_zoo, "trace_in_here", tells_and_sleeps)

    found = result_of(model_zoo.measured(Entry(name="slow", packages=(), build=small), limit_s=1.0))

    assert (found.predicted_bytes, found.cpu_failure) == (5, "took more than 1 s")


def test_a_process_that_ends_is_no_end_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_zoo, "trace_in_here", ends_at_once)

    found = result_of(model_zoo.measured(Entry(name="ends", packages=(), build=small), limit_s=60.0))

    assert found.outcome == "runs on neither: ended with 3"


def test_a_model_without_its_packages_is_not_begun() -> None:
    found = model_zoo.measured(Entry(name="none", packages=("no_such_package",), build=small), limit_s=1.0)

    assert result_of(found).outcome == "skipped: needs no_such_package"
