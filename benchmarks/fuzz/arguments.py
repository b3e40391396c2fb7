"""Command lines made by chance, of every command and option that the app itself declares."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import typer

from benchmarks.fuzz.attempts import MEASURING_S, QUICK_S, Attempt
from benchmarks.fuzz.folder import FAILING, RUNS, TINY, Template
from benchmarks.fuzz.values import HOSTILE, NUMBERS, PATHS, POOLS, RUN_NAMES
from lrtool.cli import app
from lrtool.examples import BUNDLED

PAINTED_SHARE = 1 / 80
MEASURING = {
    "range-test": ["--num-steps", "12", "--device", "cpu", "--repeats", "1"],
    "mem-sweep": ["--step-sizes", "2", "--steps", "2", "--repeats", "1", "--cycles", "1", "--jobs", "1"],
    "diagnose": ["--steps", "3"],
}
"""What keeps a command small that is to come to its end."""
TINY_SHARES = {"range-test": 0.2, "mem-sweep": 0.03, "diagnose": 0.03}
COSTLY = {"--cures", "--max-batch", "--executor", "--confirm", "--per-group", "--batch-size", "--timeout", "--history"}
"""Options that are not given where a command is to come to its end."""
SLOW, SLOW_SHARE = {"doctor"}, 0.02
_WORD = re.compile(r"[\w.%/\[\]]+(?:[=:,+-][\w.%]+)*")
_MEASURABLE = {TINY.partition(".")[0], "midway", *BUNDLED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """An argument or an option of a command, as the app declares it; no names where it is an argument."""

    names: tuple[str, ...]
    takes_value: bool
    help: str
    variable: str | None

    @property
    def words(self) -> list[str]:
        """The words of its help, among them its default and the values that it takes."""
        return _WORD.findall(self.help) or ["x"]


@dataclass(frozen=True, slots=True)
class Chance:
    """What is drawn from: the files that there are, and how seldom anything that makes sense is taken."""

    draw: Random
    names: Sequence[str]
    wildness: float

    def is_wild(self) -> bool:
        """Whether to take anything at all this time."""
        return self.draw.random() < self.wildness


@cache
def declared() -> dict[str, tuple[Parameter, ...]]:
    """The parameters of every command of the app."""
    group: Any = typer.main.get_command(app)
    return {name: tuple(map(_parameter, command.params)) for name, command in sorted(group.commands.items())}


def _parameter(declaration: Any) -> Parameter:
    is_option = declaration.param_type_name == "option"
    is_flag = is_option and (declaration.is_flag or declaration.count)
    names = (*declaration.opts, *declaration.secondary_opts) if is_option else ()
    variable = declaration.envvar if isinstance(declaration.envvar, str) else None
    return Parameter(names=names, takes_value=not is_flag, help=str(declaration.help or ""), variable=variable)


def argument_attempt(draw: Random, template: Template) -> Attempt:
    """A command line that may mean something, or nothing at all."""
    command = draw.choice([name for name in declared() if name not in SLOW or draw.random() < SLOW_SHARE])
    if draw.random() < TINY_SHARES.get(command, 0):
        return _tiny(command, draw)
    chance = Chance(draw, [str(file) for file in template.files], wildness=draw.choice((0.0, 0.1, 0.4, 1.0)))
    words = [*_arguments(command, chance), *_options(command, chance)]
    if chance.is_wild() and draw.random() < 0.2:
        draw.shuffle(words)
    words = [command, *words]
    if chance.is_wild() and draw.random() < 0.1:
        words.insert(draw.randrange(len(words) + 1), draw.choice(HOSTILE))
    if any(word in MEASURING for word in words):
        words = _harmless(words, draw)
    return Attempt(
        arguments=tuple(words),
        environment=_environment(command, chance),
        limit_s=MEASURING_S if {"range-test", "doctor"} & set(words) else QUICK_S,
        paints=draw.random() < PAINTED_SHARE,
    )


def _harmless(words: list[str], draw: Random) -> list[str]:
    """Whatever is asked of a command that measures, it gets no further than the import of what it should measure.

    A range test may also fail at one of its steps.
    """
    safe = "midway.py" if words[0] == "range-test" and draw.random() < 0.3 else FAILING
    kept = [safe if re.split(r"[.:]", word)[0] in _MEASURABLE else word for word in words]
    at = min((index for index, word in enumerate(kept) if word in MEASURING), default=0) + 1
    return [*kept[:at], safe, *kept[at:]] if draw.random() < 0.8 else kept


def _tiny(command: str, draw: Random) -> Attempt:
    """A command line of a command that measures, which comes to its end."""
    words = [TINY]
    for each in draw.choices(declared()[command], k=draw.randrange(5)):
        if each.names and not COSTLY & set(each.names):
            words += [draw.choice(each.names), *([_tame(each, draw)] if each.takes_value else [])]
    return Attempt(arguments=(command, *words, *MEASURING[command]), limit_s=MEASURING_S)


def _tame(parameter: Parameter, draw: Random) -> str:
    """A value that may be wrong, but means no more than a few of anything."""
    words = [each for each in parameter.words if not re.search(r"\d{3}|[4-9]\d", each) and each not in BUNDLED]
    return draw.choice((*(words or ["1"]), *("1", "2", "3", "nan", "x", "0.5", "1e-3", "", "a,b", "\x1b[31m")))


def _arguments(command: str, chance: Chance) -> list[str]:
    """None, one or several of what a command works on."""
    draw, wanted = chance.draw, [each for each in declared()[command] if not each.names]
    if not chance.is_wild():
        count = 2 if command == "compare" else len(wanted)
        return [draw.choice(_fitting(command, chance)) for _ in range(count)]
    count = draw.choice((0, 1, 1, 1, 1, 2, 3)) if wanted else draw.choice((0, 0, 0, 1))
    pools = [_fitting(command, chance), RUN_NAMES, chance.names, PATHS, HOSTILE, *(each.words for each in wanted)]
    return [_without_waiting(draw.choice(draw.choice(pools))) for _ in range(count)]


def _fitting(command: str, chance: Chance) -> Sequence[str]:
    """What a command can do something with: a trace, a new folder, or the runs of one command."""
    traces = [name for name in chance.names if "jsonl" in name or "pickle" in name]
    same_runs = [RUNS[chance.draw.choice(list(RUNS))]] if command == "compare" else list(RUNS.values())
    return {"replay": traces, "init": ["new", "."]}.get(command, same_runs)


def _without_waiting(name: str) -> str:
    """A trace may be read from a pipe, and then its writer is waited for, as by any program."""
    return "nothing.here" if name in ("pipe", "pi.pe.py", "/dev/stdin") else name


def _options(command: str, chance: Chance) -> list[str]:
    draw, own = chance.draw, [each for each in declared()[command] if each.names]
    others = [each for all_of in declared().values() for each in all_of if each.names]
    words: list[str] = []
    for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 4, 6))):
        option = draw.choice(others if not own or (chance.is_wild() and draw.random() < 0.2) else own)
        for _ in range(draw.choice((1, 1, 1, 1, 2))):
            words += _written(option, chance)
    return words


def _written(option: Parameter, chance: Chance) -> list[str]:
    """An option with its value; now and then cut short, misspelt, without a value, or with one that it does not take."""
    draw, name = chance.draw, chance.draw.choice(option.names)
    if chance.is_wild() and draw.random() < 0.1:
        cut = name[: max(2, len(name) - 2)]
        name = draw.choice((cut, f"{name}s", name.upper(), f"-{name}", f"{name}\n", f"{name}="))
    if option.takes_value == (chance.is_wild() and draw.random() < 0.06):
        return [name]
    value = value_of(option, chance)
    return [f"{name}={value}"] if draw.random() < 0.2 else [name, value]


def value_of(option: Parameter, chance: Chance) -> str:
    """Of the words in its help, of its kind, a name of a file, or anything."""
    draw, own = chance.draw, next((POOLS[name] for name in option.names if name in POOLS), NUMBERS)
    if not chance.is_wild():
        return _without_waiting(draw.choice((*option.words, *own[:3])))
    pool: Sequence[str] = draw.choice((option.words, own, own, own, NUMBERS, PATHS, chance.names, HOSTILE))
    value = draw.choice(pool)
    if draw.random() < 0.1:
        value = draw.choice(",=:;").join((value, draw.choice(draw.choice((option.words, own, HOSTILE)))))
    return value if {"--config", "--baseline"} & set(option.names) else _without_waiting(value)


def _environment(command: str, chance: Chance) -> dict[str, str]:
    """A target that fails at once where none is named, now and then an option, and what the terminal says of itself."""
    draw, made = chance.draw, {"LRTOOL_TARGET": FAILING}
    with_variable = [each for each in declared()[command] if each.variable and each.variable not in made]
    if with_variable and draw.random() < 0.15:
        option = draw.choice(with_variable)
        assert option.variable is not None
        made[option.variable] = value_of(option, chance)
    if draw.random() < 0.02:
        made[draw.choice(("LRTOOL_NOPE", "LRTOOL_\x1b[31m", "LRTOOL_"))] = "1"
    if draw.random() < 0.1:
        size = draw.choice(("0", "-1", "x", "1", "20", "9999", "9" * 30))
        made[draw.choice(("COLUMNS", "LINES", "TERMINAL_WIDTH"))] = size
    if draw.random() < 0.05:
        made[draw.choice(("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "TERM"))] = draw.choice(
            ("", "1", "dumb", "true")
        )
    return {name: value for name, value in made.items() if _can_be_a_variable(value)}


def _can_be_a_variable(value: str) -> bool:
    try:
        return b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
