"""The documents that are written from the code, so that they cannot drift from it: `python -m tests.generated_docs`.

tests/test_docs.py fails where a file differs from what is generated here.
"""

import json
from collections.abc import Iterator
from typing import Any

import typer
from pydantic import TypeAdapter

from lrtool.cli import app
from lrtool.diagnosis.causes.cause import all_causes
from lrtool.errors import EXIT_CODES
from lrtool.report.glossary import GROUPS, Term
from lrtool.results import RESULTS, SCHEMA, Check, Doctor, KnownCards, Run, RunSummary
from lrtool.tracing.workspaces.operators import UNKNOWN
from tests import DOCS

Schema = dict[str, Any]


def metrics() -> str:
    """docs/metrics.md: every figure with its formula."""
    lines = [
        "# Every figure, and its formula",
        "",
        "Bytes are integers, everywhere; missing is `null` in JSON and empty in CSV. Names in formulas are those of",
        "`torch.cuda.memory_stats`. Figures taken with `expandable_segments` on and off are not comparable: with it on, all",
        "free bytes of a segment can be mapped elsewhere, and none count as split off.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.heading}", ""]
        lines += ["| figure | in JSON and CSV | formula | what it says |", "|---|---|---|---|"]
        lines += [_metric(name, term) for name, term in group.terms.items()]
    return "\n".join(lines) + "\n"


def prediction() -> str:
    """docs/prediction.md: what a prediction counts, what it does not, and how close it is."""
    lines = [
        "# What a prediction knows, and how close it is",
        "",
        "Without a GPU the training step runs on fake CUDA tensors: shapes and types without data. Every allocation and every",
        "free is recorded in order, what CUDA kernels are known to allocate for themselves is added, and the requests are",
        "played on a model of PyTorch's caching allocator, which reproduces recordings of the real one request by request.",
        "",
        "Counted besides a step's tensors, each by the formula of its source: cuBLAS workspaces, copies of operands that",
        "cuBLAS cannot take, staging buffers of reductions, and scratch of indexing, sorting, norms, softmax, losses and",
        "flash attention. None of it was fitted to a measurement. What cuDNN takes for convolutions, recurrent layers and",
        "attention has no public formula: it is an estimate between bounds, of which the result tells.",
        "",
        "## How close",
        "",
        "Held against what others have published of real GPUs; nothing below was measured by lrtool itself, and there is no",
        "such comparison yet for convolutional networks. Tables: [RESULTS.md](../benchmarks/RESULTS.md).",
        "",
        "- **Whole programs**, request by request: 23 memory snapshots of real runs, language models with and without",
        "  training, fp32 and bf16, 0.4 to 65 GiB. Peaks allocated: median error 0.000 %, worst 0.06 %; reserved: 0.000 % and",
        "  2.4 % (`python benchmarks/snapshot_prediction.py`).",
        "- **Fine-tuning**: 58 methods and settings of PEFT's comparison on Llama-3.2-3B. Peak reserved: median error 0.08 %,",
        "  90th percentile 1.2 %, worst 9.1 %; one number was fitted, on a 59th (`python benchmarks/peft_prediction.py`).",
        "- **Single operations**: 262 peaks of Liger-Kernel's benchmark, 217 of them within 1 %, most to the byte; what is",
        "  further off is explained as far as it is understood (`python benchmarks/liger_prediction.py`).",
        "",
        "Reserved memory depends on the addresses that the driver hands out and on the order in which autocast frees what it",
        "kept, which no two runs share: where allocated memory is right to the byte, reserved memory can still be a few",
        "percent off. The trace runs on the torch that is installed: another release may take other operators for a line.",
        "",
        "What it takes for granted, and the interval that follows from that: [assumptions.md](assumptions.md).",
        "",
        "## Not counted",
        "",
        "| what | why |",
        "|---|---|",
        *(f"| {what} | {_cell(why)} |" for what, why in UNKNOWN.items()),
        "| CUDA context | outside of what the allocator reserves |",
        "| NCCL | its buffers are not torch's: [distributed.md](distributed.md) |",
    ]
    return "\n".join(lines) + "\n"


def _metric(name: str, term: Term) -> str:
    source = f" ({term.source})" if term.source else ""
    field = ", ".join(f"`{each}`" for each in term.field.split(", "))
    return f"| {name} | {field} | {_cell(term.formula)} | {_cell(term.meaning + source)} |"


def command_line() -> str:
    """docs/command-line.md: every command with every option."""
    lines = [
        "# The command line",
        "",
        "The result goes to stdout and everything else to stderr; the first line is the answer, the last says where it was",
        "written and what to run next. `--json` prints one document instead ([its schema](json.md)). An option can also be",
        "set by its environment variable, or in a settings file: command line, then environment, then file, then default.",
    ]
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        lines += ["", f"## lrtool {name}", "", *_prose(command.help)]
        panels: dict[str, list[Any]] = {}
        for parameter in command.params:
            panels.setdefault(parameter.rich_help_panel or "", []).append(parameter)
        for panel, parameters in panels.items():
            lines += ["", f"| {panel or 'argument or option'} | | environment |", "|---|---|---|"]
            lines += [_parameter(each) for each in parameters]
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(lines) + "\n"


def _prose(text: str) -> Iterator[str]:
    """A command's help, its examples as code."""
    about, _, examples = " ".join(text.split()).partition(" Examples: ")
    yield about
    yield from ("", "```")
    yield from examples.split(" | ")
    yield "```"


def _parameter(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    takes_value = is_option and not parameter.is_flag and not parameter.count
    value = f" {(parameter.metavar or parameter.name).upper()}" if takes_value else ""
    names = ", ".join(parameter.opts) if is_option else parameter.name.upper()
    variable = f"`{parameter.envvar}`" if parameter.envvar else ""
    return f"| `{names}{value}` | {_cell(parameter.help)} | {variable} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\[", "[").replace("|", "\\|")


def schema() -> Schema:
    """docs/lrtool.schema.json: what `--json` prints, for every command; made of the result types as pydantic reads them."""
    adapters: Any = [(command, "serialization", TypeAdapter(Run[kind])) for command, kind in RUNS.items()]  # type: ignore[valid-type]
    adapters += [(kind.__name__, "serialization", TypeAdapter(kind)) for kind in (Check, KnownCards, RunSummary)]
    _, document = TypeAdapter.json_schemas(adapters, ref_template="#/$defs/{model}")
    parts: dict[str, Schema] = {name: _without_titles(part) for name, part in document["$defs"].items()}
    _flatten_trials(parts)
    names = sorted({each.name for each in all_causes()})
    parts["Finding"]["properties"]["cause"]["enum"] = [*names, "none"]
    commands = {command: _document_of(command, parts, kind.__name__) for command, kind in RUNS.items()}
    commands |= {"check": _check_of(parts), "baseline": parts["RunSummary"], "cards": parts["KnownCards"]}
    kept = {name: part for name, part in parts.items() if not name.startswith("Run_") and name not in _NAMES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What lrtool --json prints",
        "oneOf": [{"$ref": f"#/$defs/{command}"} for command in commands],
        "$defs": {**commands, **kept},
    }


RUNS = {**RESULTS, "doctor": Doctor}
_NAMES = {kind.__name__ for kind in (*RUNS.values(), Check, KnownCards, RunSummary)}


def _check_of(parts: dict[str, Schema]) -> Schema:
    """A check stands for itself: it measured nothing, and names the run that it judged."""
    head = {"schema": {"const": SCHEMA}, "command": {"const": "check"}}
    properties = {**head, **parts["Check"]["properties"], "run_dir": {"type": "string"}}
    return {**parts["Check"], "properties": properties, "required": list(properties)}


def _document_of(command: str, parts: dict[str, Schema], result: str) -> Schema:
    """As `lrtool.results.document` puts it together: the result's fields at the top, then those of its run."""
    run = next(part for name, part in parts.items() if name.startswith("Run_") and result in name)
    around = {name: part for name, part in run["properties"].items() if name not in ("schema", "command", "result")}
    properties = {
        "schema": {"const": SCHEMA},
        "command": {"const": command},
        **parts[result]["properties"],
        **around,
        "run_dir": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    return {
        "description": parts[result].get("description", ""),
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _flatten_trials(parts: dict[str, Schema]) -> None:
    """The condition of a trial stands beside its figures."""
    trial = parts["Trial"]
    properties = {name: part for name, part in trial["properties"].items() if name != "condition"}
    properties |= parts.pop("Condition")["properties"]
    properties["growth_bytes_per_step"] = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    trial |= {"properties": properties, "required": list(properties)}


def _without_titles(part: Any) -> Any:
    """pydantic repeats each field's name as its title; a field that is called so is no string."""
    if isinstance(part, list):
        return [_without_titles(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _without_titles(value) for key, value in part.items() if not (key == "title" and isinstance(value, str))
    }


def generated() -> dict[str, str]:
    """What each generated file in docs/ has to hold."""
    return {
        "metrics.md": metrics(),
        "command-line.md": command_line(),
        "prediction.md": prediction(),
        "lrtool.schema.json": json.dumps(schema(), indent=1) + "\n",
    }


if __name__ == "__main__":
    for name, text in generated().items():
        (DOCS / name).write_text(text)
