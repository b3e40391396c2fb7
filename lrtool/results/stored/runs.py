"""One command's run and its one JSON form, read back with every field checked by pydantic."""

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from lrtool.errors import UsageError
from lrtool.results.checks import Count, check_date
from lrtool.results.diagnosis import Diagnosis
from lrtool.results.doctor import Doctor
from lrtool.results.gate import Comparison
from lrtool.results.mem_sweep import MemSweep
from lrtool.results.range_test import RangeTest
from lrtool.results.replay import Replay
from lrtool.results.stored.checked_json import json_text, validated_json

SCHEMA: Literal[1] = 1

Result = RangeTest | Replay | MemSweep | Diagnosis | Doctor | Comparison
R_co = TypeVar("R_co", bound=Result, covariant=True)
RESULTS: dict[str, type[Result]] = {
    "range-test": RangeTest,
    "replay": Replay,
    "mem-sweep": MemSweep,
    "diagnose": Diagnosis,
    "compare": Comparison,
}
"""What each command's run directory holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where a run was measured; runs are comparable where these agree."""

    lrtool: str
    python: str
    torch: str
    platform: str
    num_cpus: Count
    device_name: str | None
    cuda: str | None
    allocator_settings: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run(Generic[R_co]):
    """One command's run directory: what was asked for, where it ran, and its result."""

    schema: Literal[1] = SCHEMA
    command: str
    created: str
    arguments: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    environment: Environment
    result: R_co

    def __post_init__(self) -> None:
        check_date(self.created, name="created")
        for table in ("params", *(command.replace("-", "_") for command in RESULTS)):
            if not isinstance(self.settings.get(table, {}), dict):
                raise ValueError(f"settings.{table} is no table")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Command:
    """The part of a run that tells how to read the rest."""

    command: str


OTHER = f"it may be cut off, edited by hand, or written by another version (schema {SCHEMA} is read here)"


def run_to_json(run: Run[Result]) -> str:
    """The text of `run.json`. Raises ValueError for a figure that is not finite: missing is None."""
    return json_text(asdict(run), indent=1) + "\n"


def run_from_json(text: str | bytes, *, source: str) -> Run[Result]:
    """The run that `run_to_json` wrote. Raises UsageError naming `source` and the first field that is wrong."""
    try:
        command = validated_json(text, _Command).command
        if command not in RESULTS:
            raise UsageError(f"{source} is a run of `lrtool {command}`, which this version does not know", hint=OTHER)
        kind: Any = Run[RESULTS[command]]  # type: ignore[valid-type]
        run: Run[Result] = validated_json(text, kind)
    except ValueError as error:
        raise UsageError(f"{source} is not a run lrtool can read: {error}", hint=OTHER) from None
    return run


def document(run: Run[Result], *, run_dir: str | None) -> dict[str, Any]:
    """What `--json` prints: the result's fields at the top, then where and how they were measured."""
    envelope = asdict(run)
    result = envelope.pop("result")
    if isinstance(run.result, MemSweep):
        result["trials"] = [_flat_trial(trial) for trial in result["trials"]]
    head = {"schema": envelope.pop("schema"), "command": envelope.pop("command")}
    return {**head, **result, **envelope, "run_dir": run_dir}


def _flat_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """A trial with its condition's fields and its growth beside its figures."""
    growth = trial["growth"]
    return {
        **{key: value for key, value in trial.items() if key != "condition"},
        **trial["condition"],
        "growth_bytes_per_step": None if growth is None else growth["bytes_per_step"],
    }
