"""Other finders' rules on a curve: the LRs that the finders themselves, run on the same losses, suggested."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrtool.lr.curve.rules import RULES, NoSuggestion, RawCurve, Rule, torch_lr_finder_steepest
from tests.conftest import Lrtool

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_picks.json").read_text())
"""What each finder, in the version named there, suggested after a ramp from 1e-7 to 10 whose losses were scripted."""
ROUNDING_DECIDES = ("flat", "fastai", "steep")
"""On a curve without any slope, the steepest place is where the last bit of torch's vectorised arithmetic puts it."""
CASES = [
    (curve, rule) for curve in RECORDED["curves"] for rule in RULES if (curve, rule.finder, rule.name) != ROUNDING_DECIDES
]  # fmt: skip


def curve_as_seen_by(finder: str, losses: list[float | None]) -> RawCurve:
    """The losses at the LRs which that finder writes down beside them; None stands for NaN."""
    last = len(losses) - 1
    part: Callable[[int], float] = {
        "fastai": lambda i: i / (last + 1),
        "Lightning": lambda i: (i + 1) / (last + 1) if i else 0.0,
        "torch-lr-finder": lambda i: i / last,
        "Ignite": lambda i: (i + 1) / last,  # the LR of the step to come
    }[finder]
    return RawCurve(
        lrs=tuple(1e-7 * (10 / 1e-7) ** part(i) for i in range(last + 1)),
        losses=tuple(float("nan") if loss is None else loss for loss in losses),
        num_planned=last + 1,
    )


@pytest.mark.parametrize(("name", "rule"), CASES, ids=[f"{c}-{r.finder}-{r.name}" for c, r in CASES])
def test_a_rule_picks_what_the_finder_itself_picked(name: str, rule: Rule) -> None:
    recorded = RECORDED["curves"][name]
    curve = curve_as_seen_by(rule.finder, recorded["losses"])

    expected = recorded["picks"][rule.finder][rule.name]
    if expected is None:
        with pytest.raises(NoSuggestion):
            rule.pick(curve)
    else:
        assert rule.pick(curve) == pytest.approx(expected, rel=1e-6)


def test_the_rules_name_the_versions_they_were_checked_against() -> None:
    assert {rule.finder: rule.version for rule in RULES} == RECORDED["versions"]


def test_a_negative_loss_stops_every_finder_and_that_is_said() -> None:
    with pytest.raises(NoSuggestion, match="it stops after 1 step, as the loss is not positive, and needs 17"):
        torch_lr_finder_steepest(RawCurve(lrs=(1e-3,) * 50, losses=(-1.0,) * 50, num_planned=50))


def test_the_command_shows_every_rule_beside_the_suggestion(
    lrtool: Lrtool, workload_file: Callable[[str], Path]
) -> None:
    outcome = lrtool("range-test", workload_file("good"), "--rules", "all")
    document = lrtool("range-test", workload_file("good"), "--rules", "all", "--json").json
    rows = [line.split() for line in outcome.out.splitlines() if line.startswith(("fastai ", "Lightning ", "Ignite "))]

    assert [row[:3] for row in rows] == [
        ["fastai", "2.8.12", "valley"], ["fastai", "2.8.12", "slide"], ["fastai", "2.8.12", "minimum"],
        ["fastai", "2.8.12", "steep"], ["Lightning", "2.6.6", "steepest"], ["Ignite", "0.5.5", "steepest"],
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in outcome.out.splitlines() if not line.startswith(("scheduler", "Wrote")))
    valley = document["rules"][0]
    assert float(rows[0][3]) == pytest.approx(valley["lr"], rel=0.01)
    assert float(rows[0][4]) == pytest.approx(valley["lr"] / document["max_lr"], rel=0.01)
    assert (Path(document["run_dir"]) / "rules.csv").read_text().count("\n") == 1 + len(RULES)


def test_some_finders_can_be_asked_alone_and_none_is_the_default(
    lrtool: Lrtool, workload_file: Callable[[str], Path]
) -> None:
    some = lrtool("range-test", workload_file("good"), "--rules", "ignite,lightning", "--json").json
    none = lrtool("range-test", workload_file("good"), "--json").json

    assert [pick["finder"] for pick in some["rules"]] == ["Lightning", "Ignite"]
    assert none["rules"] == []
    assert none["max_lr"] == some["max_lr"]


def test_a_misspelt_finder_is_told(lrtool: Lrtool) -> None:
    outcome = lrtool("range-test", "--rules", "keras")

    assert outcome.code == 2
    assert "--rules" in outcome.err
    assert "'torch-lr-finder'" in outcome.err
