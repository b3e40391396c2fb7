"""Where memory is heading in a group of trials that differ only in step size: growth, out of memory, and who ends in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrtool.memory.growth import FragmentationGrowth, fragmentation_growth, full_at_step, is_growing, step_growth
from lrtool.results import GrowthSource, StepGrowth, StepSeries, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """What becomes of a group of trials. `growth` is that of its longest growing trial where most of them grow, and of
    its longest one where they do not; `forecast_step` is observed where a trial ran out of memory, else extrapolated.
    """

    trials: tuple[Trial, ...]
    longest: Trial | None
    growth: StepGrowth | None
    sources: tuple[GrowthSource, ...]
    fragmentation_growth: FragmentationGrowth | None
    ooms: tuple[Trial, ...]
    forecast_step: int | None
    ends_before: tuple[Trial, ...]
    ends_after: tuple[Trial, ...]

    @property
    def is_growing(self) -> bool:
        return is_growing(self.growth)


def trend_of(trials: Sequence[Trial], series: Mapping[int, StepSeries], *, capacity_bytes: int | None) -> Trend:
    """The trend of trials that differ in nothing but step size and repeat."""
    measured = sorted((t for t in trials if _num_steps(t, series)), key=lambda t: -_num_steps(t, series))
    growths = {t.number: growth_of(t, series.get(t.number)) for t in measured}
    leader = _leader(measured, growths)
    growth = growths[leader.number] if leader else None
    ooms = tuple(sorted((t for t in trials if t.status == "oom"), key=oom_step))
    step = _observed(ooms, trials)
    if step is None:
        step = _forecast(leader, series, growth=growth, capacity_bytes=capacity_bytes)
    return Trend(
        trials=tuple(trials),
        longest=leader,
        growth=growth,
        sources=_sources(leader, trials) if is_growing(growth) else (),
        fragmentation_growth=_fragmentation_growth(leader, series),
        ooms=ooms,
        forecast_step=step,
        ends_before=tuple(t for t in trials if step is not None and t.num_steps < step),
        ends_after=tuple(t for t in trials if step is not None and t.num_steps >= step),
    )


def growth_of(trial: Trial, steps: StepSeries | None) -> StepGrowth | None:
    """The trial's own growth, else that of its steps."""
    if trial.growth is not None or steps is None:
        return trial.growth
    return step_growth(steps.allocated_bytes)


def oom_step(trial: Trial) -> int:
    """The step, from 1, at which a trial ran out of memory."""
    return trial.death.step if trial.death is not None else trial.num_steps_done + 1


def _num_steps(trial: Trial, series: Mapping[int, StepSeries]) -> int:
    return len(series[trial.number].allocated_bytes) if trial.number in series else 0


def _leader(measured: Sequence[Trial], growths: Mapping[int, StepGrowth | None]) -> Trial | None:
    """The longest growing trial where at least half of those with a growth grow: one in forty does by chance alone."""
    known = [trial for trial in measured if growths[trial.number] is not None]
    growing = [trial for trial in known if is_growing(growths[trial.number])]
    if growing and 2 * len(growing) >= len(known):
        return growing[0]
    steady = [trial for trial in known if trial not in growing]
    return next(iter(steady or measured), None)


def _sources(leader: Trial | None, trials: Sequence[Trial]) -> tuple[GrowthSource, ...]:
    """What grows by its line, largest first: as the leader knows it, else any other trial of the group."""
    known = next((t.growth_sources for t in (leader, *trials) if t is not None and t.growth_sources), ())
    places = dict.fromkeys(source.source for source in known)
    merged = [_merged([source for source in known if source.source == place]) for place in places]
    return tuple(sorted(merged, key=lambda source: -source.bytes_per_step))


def _merged(sources: Sequence[GrowthSource]) -> GrowthSource:
    """One of several storages that the same line gave birth to."""
    return GrowthSource(
        source=sources[0].source,
        line=next((source.line for source in sources if source.line), None),
        container=next((source.container for source in sources if source.container), None),
        bytes_per_step=sum(source.bytes_per_step for source in sources),
    )


def _fragmentation_growth(leader: Trial | None, series: Mapping[int, StepSeries]) -> FragmentationGrowth | None:
    steps = series.get(leader.number) if leader else None
    return None if steps is None else fragmentation_growth(steps.reserved_bytes, steps.active_bytes)


def _observed(ooms: Sequence[Trial], trials: Sequence[Trial]) -> int | None:
    """The step of the first that ran out of memory; None where another got past it: then steps were not the reason."""
    if not ooms or any(trial.num_steps_done >= oom_step(ooms[0]) for trial in trials):
        return None
    return oom_step(ooms[0])


def _forecast(
    leader: Trial | None, series: Mapping[int, StepSeries], *, growth: StepGrowth | None, capacity_bytes: int | None
) -> int | None:
    if leader is None or growth is None:
        return None
    steps = series.get(leader.number)
    if steps is None or capacity_bytes is None or not is_growing(growth):
        return None
    step = full_at_step(steps, capacity_bytes=capacity_bytes)
    until = leader.growth_sources[0].until_step if leader.growth_sources else None
    return None if step is not None and until is not None and step > until else step
