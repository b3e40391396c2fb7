"""Tries cures on a workload: each as a trial in a process of its own, then the best of them together."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from lrtool.diagnosis.cure_trials.effects import (
    effect_of,
    effect_of_refusal,
    effect_of_settings,
    figures_of,
    going_together,
    in_order,
)
from lrtool.diagnosis.cure_trials.reports import (
    CURE_TRIAL,
    CureReport,
    CureSetup,
    CureTrial,
    CureTrialFile,
    SettingsPeaks,
    job_of,
)
from lrtool.diagnosis.cures.cure import Cure, OptionCure, WorkloadCure
from lrtool.diagnosis.cures.registry import CURES, OPTIONS
from lrtool.errors import WorkloadError
from lrtool.results import CureEffect, CureFigures, Cures, Recorder, is_measured
from lrtool.results.stored.trial_dir import trial_dir
from lrtool.sweep.executors.executor import Executor

MAX_CONCURRENT_PREDICTIONS = 4
BASELINE, TOGETHER = "baseline", "together"
OnTrial = Callable[[str, int, int], None]
"""Told of each trial as it ends: what was tried, and of those that run at once how many are done, how many there are."""


def num_at_once(setup: CureSetup) -> int:
    """How many trials may run at once: only one where times are measured."""
    return min(MAX_CONCURRENT_PREDICTIONS, os.cpu_count() or 1) if setup.recorder == "predicted" else 1


def try_cures(
    setup: CureSetup,
    folder: Path,
    executor: Executor,
    *,
    cures: Sequence[WorkloadCure] = CURES,
    options: Sequence[OptionCure] = OPTIONS,
    on_trial: OnTrial,
) -> Cures:
    """Run the baseline, every cure, also the allocator's options, and the best together; files are kept in `folder`.

    Raises WorkloadError where the baseline itself cannot be run: without it nothing can be compared.
    """
    return _Session(setup, folder, executor, cures, options, on_trial).run()


@dataclass(slots=True)
class _Session:
    """One round of trials."""

    setup: CureSetup
    folder: Path
    executor: Executor
    cures: Sequence[WorkloadCure]
    options: Sequence[OptionCure]
    on_trial: OnTrial
    reports: dict[str, CureReport] = field(default_factory=dict)
    settings_tried: dict[str, list[tuple[SettingsPeaks, CureReport]]] = field(default_factory=dict)
    was_interrupted: bool = False

    def run(self) -> Cures:
        self._try({BASELINE: self._first_trial()})
        baseline = self._baseline()
        refused = {each.name for each in self.reports[BASELINE].refused}
        self._try(
            {
                cure.name: CureTrial(
                    number=number,
                    cures=(cure.name,),
                    settings=self.setup.settings,
                    wants_loss=self._wants_losses(),
                )
                for number, cure in enumerate(self.cures, 2)
                if cure.name not in refused
            }
        )
        effects = [*self._effects(baseline), *self._effects_of_settings(baseline)]
        together = None if self.was_interrupted else self._together(effects, baseline)
        return Cures(
            recorder=self.setup.recorder,
            num_steps=self.setup.num_steps,
            capacity_bytes=self.setup.capacity_bytes or self.reports[BASELINE].capacity_bytes,
            loss_device=self.reports[BASELINE].loss_device,
            baseline=baseline,
            effects=in_order(effects),
            together=together,
            was_interrupted=self.was_interrupted,
        )

    def _first_trial(self) -> CureTrial:
        """The baseline. Its process also finds out what needs no process of its own, where nothing is really run."""
        setup = self.setup
        return CureTrial(
            number=1,
            settings=setup.settings,
            options=self._replayed_options(),
            asks_for=tuple(cure.name for cure in self.cures) if setup.recorder == "predicted" else (),
        )

    def _try(self, trials: Mapping[str, CureTrial], *, recorder: Recorder | None = None) -> None:
        """Run trials, each stored by its name as it ends; Ctrl-C ends those that run and those that wait."""
        setup = self.setup if recorder is None else replace(self.setup, recorder=recorder)
        by_folder = {trial_dir(self.folder, trial.number): name for name, trial in trials.items()}
        files = {name: CureTrialFile(setup=setup, trial=trial) for name, trial in trials.items()}
        jobs = (job_of(CURE_TRIAL, self.folder, file) for file in files.values())
        num_done = 0
        try:
            with closing(self.executor.run(jobs)) as endings:
                for ended in endings:
                    name = by_folder[ended.folder]
                    self.reports[name] = CURE_TRIAL.collect(ended, files[name])
                    num_done += 1
                    self.on_trial(name, num_done, len(trials))
        except KeyboardInterrupt:
            self.was_interrupted = True
            stored = {name: CURE_TRIAL.read(folder) for folder, name in by_folder.items() if name not in self.reports}
            self.reports |= {name: report for name, report in stored.items() if report is not None}

    def _baseline(self) -> CureFigures:
        report = self.reports.get(BASELINE)
        if report is None:
            raise KeyboardInterrupt
        if not report.peaks:
            raise WorkloadError(
                f"the workload cannot be run as it is: {report.message}",
                hint=f"see {trial_dir(self.folder, report.trial.number)}/log.txt",
            )
        return figures_of(report, report.peaks[0])

    def _effects(self, baseline: CureFigures) -> Iterator[CureEffect]:
        refused = {each.name: each for each in self.reports[BASELINE].refused}
        for about in self.cures:
            report = self.reports.get(about.name)
            if about.name in refused:
                yield effect_of_refusal(about, refused[about.name])
            elif report is not None:
                yield effect_of(about, report, baseline, recorder=self.setup.recorder)

    def _effects_of_settings(self, baseline: CureFigures) -> Iterator[CureEffect]:
        if self.options and is_measured(self.setup.recorder) and not self.was_interrupted:
            self._measure_settings()
        report = self.reports[BASELINE]
        refused = {each.name: each for each in report.refused}
        for about in self.options:
            tried = [peaks for peaks in report.peaks if peaks.name == about.name]
            measured = self.settings_tried.get(about.name, [])
            if tried:
                yield effect_of_settings(about, tried, report, baseline, recorder=self.setup.recorder)
            elif measured:
                best = min(measured, key=lambda pair: (pair[0].fits is False, pair[0].peak_reserved_bytes))
                yield effect_of_settings(about, [best[0]], best[1], baseline, recorder=self.setup.recorder)
            elif about.name in refused:
                yield effect_of_refusal(about, refused[about.name])

    def _measure_settings(self) -> None:
        """On a GPU: choose the values from a predicted stream, then run each."""
        chooser = CureTrial(
            number=self._next_number(), settings=self.setup.settings, options=self._option_names(), wants_loss=False
        )
        self._try({"settings": chooser}, recorder="predicted")
        predicted = self.reports.pop("settings", None)
        candidates = [] if predicted is None else [peaks for peaks in predicted.peaks if peaks.name]
        start = self._next_number()
        trials = {
            f"{peaks.name} {peaks.settings}": CureTrial(number=start + index, settings=peaks.settings)
            for index, peaks in enumerate(candidates)
        }
        self._try(trials)
        for name in trials:
            report = self.reports.pop(name, None)
            if report is not None and report.peaks:
                cure = name.partition(" ")[0]
                self.settings_tried.setdefault(cure, []).append((report.peaks[0], report))
        if predicted is not None:
            self.reports[BASELINE] = replace(self.reports[BASELINE], refused=predicted.refused)

    def _together(self, effects: Sequence[CureEffect], baseline: CureFigures) -> CureEffect | None:
        """The best of them at once, with the settings that do best on their stream; None where fewer than two help."""
        names = going_together(effects, self.cures)
        helpful = [each for each in effects if each.outcome == "helps" and each.name in self._option_names()]
        if len(names) + bool(helpful) < 2:
            return None
        settings = self.setup.settings
        if is_measured(self.setup.recorder) and helpful:
            settings = in_order(helpful)[0].settings
        trial = CureTrial(
            number=self._next_number(),
            cures=names,
            settings=settings,
            options=self._replayed_options(),
            wants_loss=self._wants_losses(),
        )
        self._try({TOGETHER: trial})
        report = self.reports.get(TOGETHER)
        if report is None:
            return None
        return _effect_together(names, self.cures, report, baseline, recorder=self.setup.recorder)

    def _option_names(self) -> tuple[str, ...]:
        return tuple(option.name for option in self.options)

    def _replayed_options(self) -> tuple[str, ...]:
        """Where nothing is measured, a trial's own stream is replayed under each."""
        return () if is_measured(self.setup.recorder) else self._option_names()

    def _wants_losses(self) -> bool:
        """A prediction computes losses for cures where it was worth doing so for the baseline."""
        return self.setup.recorder != "predicted" or self.reports[BASELINE].loss is not None

    def _next_number(self) -> int:
        return 1 + max((int(path.name) for path in (self.folder / "trials").iterdir()), default=0)


def _effect_together(
    names: tuple[str, ...],
    cures: Sequence[Cure],
    report: CureReport,
    baseline: CureFigures,
    *,
    recorder: Recorder,
) -> CureEffect:
    members = [each for each in cures if each.name in names]
    titles = [each.title for each in members]
    can_count = all(each.time_by_operations for each in members)
    about = Cure(name=TOGETHER, title=" + ".join(titles), time_by_operations=can_count)
    own = effect_of(about, report, baseline, recorder=recorder)
    if own.figures is None or len(report.peaks) == 1:
        return own
    best = effect_of_settings(about, report.peaks, report, baseline, recorder=recorder)
    if best.settings == own.settings:
        return own
    added = best.settings.removeprefix(own.settings).lstrip(",")
    return replace(best, title=" + ".join([*titles, added]), how=(*report.how, *best.how))
