"""Which cases of two runs belong together, and what makes the runs not comparable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lrtool.results import Case, FactDifference, RunSummary

PATH_FACTS = ("target",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """Cases of a run, each with that of the baseline that ran under the same condition, and what differs between the runs.

    Where the runs differ, cases are still paired as well as can be, for those who compare all the same.
    """

    pairs: tuple[tuple[Case, Case], ...]
    differences: tuple[FactDifference, ...]


def align(run: RunSummary, baseline: RunSummary) -> Alignment:
    """Pair the cases of two runs.

    What has one value throughout both runs is a fact that must agree; what varies within either tells its cases apart.
    """
    varying = varying_axes([run, baseline])
    others = {key_of(case, varying): case for case in baseline.cases}
    pairs = [(case, others[key]) for case in run.cases if (key := key_of(case, varying)) in others]
    missing = () if pairs else (_no_pair(run, baseline, varying),)
    return Alignment(
        pairs=tuple(pairs), differences=(*_differing_facts(run, baseline), *_differing_axes(run, baseline), *missing)
    )


def difference_text(differences: Sequence[FactDifference]) -> str:
    """ "torch 2.13.0 here, 2.12.0 in the baseline; ..."."""
    return "; ".join(f"{each.fact} {each.here} here, {each.baseline} in the baseline" for each in differences)


def varying_axes(runs: Sequence[RunSummary]) -> list[str]:
    """The axes on which the cases of a run differ among themselves, in any of the runs."""
    axes = dict.fromkeys(axis for run in runs for case in run.cases for axis in case.condition)
    return [axis for axis in axes if any(len(_values(run, axis)) > 1 for run in runs)]


def key_of(case: Case, axes: Sequence[str]) -> tuple[str, ...]:
    """What a case has on the given axes."""
    return tuple(case.condition.get(axis, "-") for axis in axes)


def label_of(case: Case, axes: Sequence[str]) -> str:
    """ "step_size_up 2500, batch_size 64": what tells a case from the others of its run; "" where it is the only one."""
    hidden = {"step_size_down", "num_steps"} if "step_size_up" in axes else set()
    return ", ".join(f"{axis} {case.condition.get(axis, '-')}" for axis in axes if axis not in hidden)


def _values(run: RunSummary, axis: str) -> set[str]:
    return {case.condition.get(axis, "-") for case in run.cases}


def _differing_facts(run: RunSummary, baseline: RunSummary) -> Iterator[FactDifference]:
    if run.command != baseline.command:
        yield FactDifference(fact="command", here=run.command, baseline=baseline.command)
    for fact in dict.fromkeys((*run.facts, *baseline.facts)):
        here, there = run.facts.get(fact, "-"), baseline.facts.get(fact, "-")
        if here != there and not (fact in PATH_FACTS and _is_same_file(here, there)):
            yield FactDifference(fact=fact, here=here, baseline=there)


def _differing_axes(run: RunSummary, baseline: RunSummary) -> Iterator[FactDifference]:
    """Axes on which each run has a single value, and not the same."""
    for axis in dict.fromkeys(axis for case in (*run.cases, *baseline.cases) for axis in case.condition):
        here, there = _values(run, axis), _values(baseline, axis)
        if len(here) == len(there) == 1 and here != there:
            yield FactDifference(fact=axis, here=here.pop(), baseline=there.pop())


def _no_pair(run: RunSummary, baseline: RunSummary, axes: Sequence[str]) -> FactDifference:
    here, there = ("; ".join(label_of(case, axes) for case in each.cases[:3]) or "none" for each in (run, baseline))
    return FactDifference(fact="conditions", here=here, baseline=there)


def _is_same_file(one: str, other: str) -> bool:
    """Whether one path is the end of the other: runs may have been started in different folders of a project."""
    short, long = sorted((one.split("/"), other.split("/")), key=len)
    return long[-len(short) :] == short
