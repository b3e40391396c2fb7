"""What the documents show is what the commands print, every example in them runs, and what is generated is up to date."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from lrtool.cli import app
from lrtool.results import RESULTS
from tests import DOCS, ROOT
from tests.conftest import Lrtool
from tests.generated_docs import generated, schema
from tests.report.made_runs import MADE, stored

README = ROOT / "README.md"
GUIDES = ["training.md", "oom.md", "diagnose.md", "json.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
CHANGES = re.compile(r"; \d+ steps, [\d.]+ m?s$|0\.\d+ s$|^─+$")
"""What differs from run to run: how long it took, and how wide a table is by that."""


@dataclass(frozen=True)
class Example:
    """A command line in a document, and the lines shown below it."""

    command: str
    shown: tuple[str, ...]


def examples(document: str) -> list[Example | str]:
    """The commands of a document in order, and its Python as text."""
    found: list[Example | str] = []
    for language, block in FENCED.findall(document):
        if language == "python":
            found.append(block)
        elif block.startswith("$ lrtool "):
            command, *shown = block.rstrip().splitlines()
            found.append(Example(command.removeprefix("$ "), tuple(shown)))
        elif block.startswith("lrtool "):
            found += [Example(line, ()) for line in block.splitlines()]
    return found


def shown_in(document: Path) -> list[Example]:
    return [each for each in examples(document.read_text()) if isinstance(each, Example) and each.shown]


def lines(text: str) -> list[str]:
    return [CHANGES.sub("", line.rstrip()) for line in text.rstrip().splitlines()]


def test_there_is_an_example_for_each_measuring_command() -> None:
    assert [example.command.split()[1] for example in shown_in(README)] == ["range-test", "mem-sweep", "replay"]


@pytest.mark.painted
@pytest.mark.parametrize("example", shown_in(README), ids=lambda example: example.command.split()[1])
def test_the_readme_shows_what_is_printed(lrtool: Lrtool, tmp_path: Path, example: Example) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    printed = lines(lrtool(*shlex.split(example.command)[1:]).out)
    expected = lines("\n".join(example.shown))

    assert len(printed) == len(expected)
    if " replay " in example.command:
        assert printed == expected
    else:  # the last digits of a training run depend on the CPU
        assert [line.split()[0] for line in printed if line] == [line.split()[0] for line in expected if line]


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_can_be_followed_from_top_to_bottom(
    lrtool: Lrtool, tmp_path: Path, guide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    monkeypatch.syspath_prepend(str(tmp_path))
    for example in examples((DOCS / guide).read_text()):
        if isinstance(example, str):
            exec(compile(example, guide, "exec"), {"__name__": "guide"})
            continue
        command, _, into = example.command.partition(" > ")
        outcome = lrtool(*shlex.split(command)[1:])
        assert outcome.code == 0, outcome.err
        if into:
            Path(into).write_text(outcome.out)
        rest = iter(lines(outcome.out))
        for line in example.shown:
            assert line == "…" or any(line == printed for printed in rest), line


def test_every_example_in_the_help_is_one_that_is_understood() -> None:
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        _, _, told = " ".join(command.help.split()).partition("Examples: ")
        assert told, name
        for example in told.split(" | "):
            program, verb, *arguments = shlex.split(example)
            assert (program, verb) == ("lrtool", name)
            command.make_context(verb, arguments)


@pytest.mark.parametrize("name", generated())
def test_generated_documents_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == generated()[name], "write it anew: python -m tests.generated_docs"


def test_every_document_is_linked_and_no_link_is_broken() -> None:
    linked = set()
    for document in (README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))):
        prose = FENCED.sub("", document.read_text())
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
            linked.add((document.parent / target).resolve())

    assert {path for path in DOCS.rglob("*") if path.suffix in (".md", ".json")} <= linked


REAL = {
    "range-test": ["range-test digits --num-steps 20"],
    "replay": [f"replay {DOCS}/split.jsonl --capacity 64MiB --min-capacity"],
    "mem-sweep": ["mem-sweep leaky --step-sizes 3 --capacity 24GiB"],
    "diagnose": [f"diagnose --snapshot {DOCS}/split.jsonl --capacity 64MiB"],
    "compare": [f"replay {DOCS}/split.jsonl", f"replay {DOCS}/split.jsonl --torch 2.6", "compare 1 2"],
}
"""A real run of every command, short ones; of several lines the last is that of the command."""


def test_every_command_is_run() -> None:
    assert list(REAL) == list(RESULTS)


@pytest.mark.parametrize("command", REAL)
def test_a_real_document_is_what_the_schema_says(lrtool: Lrtool, command: str) -> None:
    documents = [lrtool(*line.split(), "--json").json for line in REAL[command]]

    assert documents[-1]["command"] == command
    check(documents[-1])


@pytest.mark.parametrize("command", MADE)
def test_a_full_document_is_what_the_schema_says(lrtool: Lrtool, tmp_path: Path, command: str) -> None:
    check(lrtool("report", stored(command, tmp_path), "--json").json)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("doctor", []), ("cards", []), ("check", ["1", "--max", "growth=0"]), ("baseline", ["1", "-o", "b.json"])],
)
def test_what_is_no_run_is_as_the_schema_says_too(
    lrtool: Lrtool, tmp_path: Path, command: str, arguments: list[str]
) -> None:
    (tmp_path / "runs").mkdir()
    stored("mem-sweep", tmp_path).rename(tmp_path / "runs" / "0001-mem-sweep")

    check(lrtool(command, *arguments, "--json").json, name=command)


def check(document: Any, *, name: str | None = None) -> None:
    """The document is valid, and has no field that the schema does not name."""
    strict = closed(schema())
    jsonschema.Draft202012Validator.check_schema(strict)
    strict["$ref"] = f"#/$defs/{name or document['command']}"  # says more of what is wrong than oneOf does
    strict.pop("oneOf")
    jsonschema.Draft202012Validator(strict).validate(document)
    jsonschema.Draft202012Validator(json.loads((DOCS / "lrtool.schema.json").read_text())).validate(document)


def closed(part: Any) -> Any:
    """The schema, allowing no field but those that it names."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {key: closed(value) for key, value in part.items()}
    return {**inner, "additionalProperties": False} if isinstance(part.get("properties"), dict) else inner
