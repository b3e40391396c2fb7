"""Commands that would prove a finding, as they can be run: on the program that was traced, or on the recording. Pure."""

from shlex import quote

from lrtool.diagnosis.run_figures import RunFigures
from lrtool.results import in_phase

THEN_AGAIN = "then diagnose it again"


def longer_runs(figures: RunFigures) -> str:
    """What shows that memory grows with the steps; a recording can only be drawn."""
    if figures.is_file:
        return f"lrtool replay {quote(figures.target)}  # the timeline climbs"
    return f"lrtool mem-sweep {quote(figures.target)} --step-sizes 100,200  # the longer run ends higher, by its steps"


def other_settings(figures: RunFigures) -> str:
    """What shows how much is lost in gaps."""
    command = "replay" if figures.is_file else "mem-sweep"
    return f'lrtool {command} {quote(figures.target)} --settings "" --settings expandable_segments:True'


def needed(figures: RunFigures) -> str:
    """What shows how much memory is needed, or what can be done about it."""
    if figures.is_file:
        return f"lrtool replay {quote(figures.target)} --min-capacity"
    return f"lrtool diagnose {quote(figures.target)} --cures"


def plain_run(figures: RunFigures) -> str:
    """The same figures once more."""
    return f"lrtool {'replay' if figures.is_file else 'mem-sweep'} {quote(figures.target)}"


def ran_out(figures: RunFigures) -> str:
    """Where it ran out of memory; a recording without steps has a line at most."""
    oom = figures.oom
    assert oom is not None
    if oom.at_start:
        return "it does not fit as it stands when the recording begins"
    if oom.step:
        return f"it ran out of memory in step {oom.step}{f', {in_phase(oom.phase)}' if oom.phase else ''}"
    if figures.is_file:
        return f"it ran out of memory{f' at {oom.source}' if oom.source else ''}"
    return "it ran out of memory before the first step"
