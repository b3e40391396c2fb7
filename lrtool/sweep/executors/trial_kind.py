"""What a trial is to those who start one and to its process: a folder with what it is given and what it reports."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lrtool.results import Recorder
from lrtool.results.stored.run_dir import make_folder
from lrtool.results.stored.trial_dir import (
    LOG_FILE,
    RESULT_FILE,
    STEPS_FILE,
    TRIAL_FILE,
    checked,
    last_words,
    read_json,
    write_json,
)
from lrtool.small_file import read_small
from lrtool.sweep.executors.executor import Ended, Job, job_of

Given = TypeVar("Given")
Report = TypeVar("Report")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialKind(Generic[Given, Report]):
    """A kind of trial: the `module` whose `run_trial` runs one, and what its `trial.json` and `result.json` hold.

    `unreported` makes the report of a process that ended without one, from what it was given, how it ended and its last
    words.
    """

    module: str
    given: type[Given]
    report: type[Report]
    unreported: Callable[[Given, Ended, str], Report]

    def job(self, folder: Path, given: Given, *, recorder: Recorder, settings: str = "") -> Job:
        """A trial to run under the allocator's `settings`, without what an earlier try of it left. Raises UnavailableError."""
        make_folder(folder)
        for left in (*(folder / name for name in (RESULT_FILE, LOG_FILE, STEPS_FILE)), *folder.glob("*.pickle")):
            left.unlink(missing_ok=True)
        # with the true values of build()'s arguments, tokens among them, which the trial's process needs
        write_json(folder / TRIAL_FILE, asdict(given), is_private=True)  # type: ignore[call-overload]
        return job_of(folder, recorder=recorder, settings=settings, module=self.module)

    def read_given(self, folder: Path) -> Given:
        """Raises UsageError naming the first field that is wrong; so do those below."""
        return read_json(folder / TRIAL_FILE, self.given)

    def write(self, folder: Path, report: Report) -> None:
        """Raises UnavailableError."""
        make_folder(folder)  # where the user's code removed it
        write_json(folder / RESULT_FILE, self.plain(report))

    def read(self, folder: Path) -> Report | None:
        """The report of a trial; None where it has none."""
        file = folder / RESULT_FILE
        return self.parsed(read_small(file), source=file) if file.is_file() else None

    def collect(self, ended: Ended, given: Given) -> Report:
        """What the trial's process wrote, or what its end says where it could not write any more, which is stored then."""
        report = self.read(ended.folder)
        if report is None:
            report = self.unreported(given, ended, last_words(ended.folder))
            self.write(ended.folder, report)
        return report

    def plain(self, report: Report) -> dict[str, Any]:
        """A report as JSON's plain values."""
        return {**asdict(report)}  # type: ignore[call-overload]

    def parsed(self, content: bytes, *, source: Path) -> Report:
        """A report from what `result.json` holds."""
        return checked(content, self.report, source=source)
