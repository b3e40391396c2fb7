"""Every kind of file that lrtool reads, the damages it takes, and the commands that read it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.attempts import MEASURING_S, QUICK_S, Attempt
from benchmarks.fuzz.damage import (
    damaged_bytes,
    damaged_json,
    damaged_lines,
    damaged_packed_lines,
    damaged_pickle,
    damaged_settings,
    damaged_table,
)
from benchmarks.fuzz.folder import FAILING, RUNS, SWEEP, Template
from lrtool.config import Settings

PAINTED_SHARE = 1 / 80
_USER_FILE = b"import math\n\n\ndef build(width: int = 3, name: str = 'x'):\n    raise ValueError(f'no {width}')\n"
_READERS = (
    "report RUN --json", "report RUN --json", "report RUN", "report RUN --html", "compare RUN RUN", "compare RUN OTHER --json",
    "check RUN --max peak_allocated=1MiB --max growth=0", "check RUN --min max_lr=0.01 --json", "diagnose RUN --json",
    "check RUN --baseline OTHER --format github", "check OTHER --baseline RUN --max-increase 5% --allow-different",
    "check RUN --max best_loss=0.1 --format junit -o new.xml", "baseline RUN -o new.json", "baseline RUN --json -o new.json",
    "diagnose RUN", "mem-sweep broken.py --check",
)  # fmt: skip
_TRACE_READERS = (
    "replay FILE", "replay FILE --json", "replay FILE --min-capacity", "replay FILE --per-op rows.jsonl",
    "replay FILE --settings expandable_segments:True --capacity rtx4090 --capacity 64MiB", "replay FILE --no-caching",
    "replay FILE --torch 2.3 --settings max_split_size_mb:21 --json", "diagnose --snapshot FILE",
    "diagnose --snapshot FILE --capacity 24GiB --json", "replay FILE --capacity 2MiB --check --config other.toml",
)  # fmt: skip
_SETTINGS_READERS = (
    "report SWEEP --json", "check SWEEP", "check SWEEP --max growth=0", "range-test broken.py", "mem-sweep broken.py",
    "diagnose broken.py --json", "replay ops.jsonl --json", "replay ops.jsonl --check", "mem-sweep broken.py --check",
    "baseline SWEEP -o new.json", "compare SWEEP SWEEP --json", "range-test broken.py --check -v",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Files of one kind: which, how what stands in them is changed, and the commands that read them.

    In a command RUN is the run that a file belongs to, OTHER any one.
    """

    files: Sequence[str]
    change: Callable[[bytes, Random], bytes]
    commands: Sequence[str]
    weight: int = 1


def _changed_settings(content: bytes, draw: Random) -> bytes:
    return damaged_settings(_all_settings(), draw)


def _changed_project(content: bytes, draw: Random) -> bytes:
    return damaged_settings({"tool": {"lrtool": _all_settings()}, "project": {"name": "x"}}, draw)


@cache
def _all_settings() -> dict[str, Any]:
    """Every setting that has a value, spelt as in a file."""
    plain: dict[str, Any] = _spelt(asdict(Settings(target=FAILING)))
    return plain


def _spelt(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("_", "-"): _spelt(inner) for key, inner in value.items() if inner is not None}
    return list(value) if isinstance(value, tuple) else value


_TRIAL = f"{SWEEP}/trials/000"
_SWEEP_READERS = ("mem-sweep --resume SWEEP", "mem-sweep --resume SWEEP --json", "mem-sweep --resume SWEEP --check")
KINDS: tuple[Kind, ...] = (
    Kind(files=[f"{run}/run.json" for run in RUNS.values()], change=damaged_json, commands=_READERS, weight=40),
    Kind(files=["baseline.json"], change=damaged_json, weight=8, commands=(
        "check SWEEP --baseline FILE", "check SWEEP --baseline FILE --max-increase 5% --json", "baseline SWEEP -o FILE",
        "check SWEEP --baseline FILE --allow-different --format github", "check 5 --baseline FILE",
    )),
    Kind(files=[f"{SWEEP}/check.json"], change=damaged_json, commands=(
        "report SWEEP --html", "report SWEEP --json", "check SWEEP --max growth=0"), weight=3),
    Kind(files=[f"{SWEEP}/plan.json"], change=damaged_json, commands=_SWEEP_READERS, weight=2),
    Kind(files=[f"{_TRIAL}/result.json"], change=damaged_json, commands=_SWEEP_READERS, weight=2),
    Kind(files=[f"{_TRIAL}/trial.json"], change=damaged_json, commands=_SWEEP_READERS),
    Kind(files=[f"{_TRIAL}/steps.csv"], change=damaged_table, weight=6, commands=(
        "report SWEEP", "report SWEEP --html", "compare SWEEP SWEEP", "diagnose SWEEP --json", _SWEEP_READERS[0])),
    Kind(files=["lrtool.toml"], change=_changed_settings, commands=_SETTINGS_READERS, weight=10),
    Kind(files=["other.toml"], change=_changed_settings, weight=5, commands=(
        "check SWEEP --config FILE", "range-test broken.py --config FILE", "mem-sweep broken.py --config FILE",
        "diagnose broken.py --config FILE", "replay ops.jsonl", "check SWEEP --config FILE --format github")),
    Kind(files=["pyproject.toml"], change=_changed_project, weight=4, commands=(
        "check SWEEP --config FILE", "mem-sweep broken.py --config FILE --json", "range-test broken.py --config FILE")),
    Kind(files=["ops.jsonl", "split.jsonl"], change=damaged_lines, commands=_TRACE_READERS, weight=14),
    Kind(files=["ops.jsonl.gz"], change=damaged_packed_lines, commands=_TRACE_READERS, weight=3),
    Kind(files=["snapshot2.pickle", "snapshot4.pickle", "snapshot.pickle.gz"], change=damaged_pickle,
         commands=_TRACE_READERS, weight=14),
    Kind(files=["junit.xml"], change=damaged_bytes, weight=2, commands=(
        "check SWEEP --max growth=0 --format junit -o FILE", "check SWEEP --min max_lr=1 --format junit -o FILE")),
    Kind(files=["user.py"], change=lambda content, draw: damaged_bytes(_USER_FILE, draw), weight=2, commands=(
        "range-test FILE --num-steps 12", "range-test FILE --json", "range-test FILE:build")),
)  # fmt: skip


def file_attempt(draw: Random, template: Template) -> Attempt:
    """A damaged file, and a command that reads it."""
    kind = draw.choices(KINDS, [each.weight for each in KINDS])[0]
    file = draw.choice(kind.files)
    content = _USER_FILE if file == "user.py" else (template.path / file).read_bytes()
    changed = damaged_bytes(content, draw) if draw.random() < 0.35 else kind.change(content, draw)
    if draw.random() < 0.03:
        changed = damaged_bytes(changed, draw)
    named = {"FILE": file, "RUN": str(Path(file).parent), "SWEEP": SWEEP, "OTHER": draw.choice(list(RUNS.values()))}
    words = [named.get(word, word.replace("FILE:", f"{file}:")) for word in draw.choice(kind.commands).split()]
    return Attempt(
        arguments=tuple(words),
        file=Path(file),
        content=changed,
        limit_s=MEASURING_S if {"mem-sweep", "range-test"} & set(words) else QUICK_S,
        paints=draw.random() < PAINTED_SHARE,
    )
