"""A check as CI systems read it: GitHub's workflow commands, and a JUnit file."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lrtool.gate.limits import format_value
from lrtool.report.gate.tables import grown_text, margin_text
from lrtool.results import Check, GateLine
from lrtool.results.stored.texts import shown
from lrtool.units import printable

TITLE = "lrtool check"


def github_lines(check: Check, *, folder: Path) -> list[str]:
    """A `::error` line for each limit that does not hold, and a `::warning` for each that was not measured.

    An error points at the first line of code that grew, where its file lies in `folder`, the target's.
    docs.github.com, "Workflow commands for GitHub Actions".
    """
    place = tuple(_place(check, folder))
    lines = []
    for line in shown(check).lines:
        if line.verdict != "ok":
            command = "error" if line.verdict == "over" else "warning"
            properties = ",".join((*place, f"title={_property(f'{TITLE}: {line.metric}')}"))
            text = ". ".join([limit_text(line), *(grown_text(grown) for grown in shown(check).grown)])
            lines.append(f"::{command} {properties}::{_data(text)}")
    return lines


def junit_xml(check: Check, *, name: str) -> str:
    """One test case for each limit: failed where it does not hold, an error where nothing was measured."""
    check = shown(check)
    counts = [line.verdict for line in check.lines]
    suite = ElementTree.Element(
        "testsuite",
        name=TITLE,
        tests=str(len(counts)),
        failures=str(counts.count("over")),
        errors=str(counts.count("unknown")),
    )
    for line in check.lines:
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(name), name=_xml(f"{line.metric} {line.limit}"))
        if line.verdict != "ok":
            kind = "failure" if line.verdict == "over" else "error"
            problem = ElementTree.SubElement(case, kind, message=_xml(limit_text(line)))
            problem.text = _xml("\n".join(grown_text(grown) for grown in check.grown))
        ElementTree.SubElement(case, "system-out").text = _xml(limit_text(line))
    suites = ElementTree.Element("testsuites", name=TITLE)
    suites.append(suite)
    ElementTree.indent(suites, " ")
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def is_junit_of_lrtool(content: bytes) -> bool:
    """Whether a file's content is what `junit_xml` wrote."""
    return f'<testsuites name="{TITLE}">'.encode() in content[:200]


def limit_text(line: GateLine) -> str:
    """ "peak_allocated at step_size_up 2500: limit ≤ 14.0 GiB, measured 17.9 GiB, margin -3.9 GiB"."""
    where = f" at {line.case}" if line.case else ""
    measured = "not measured" if line.measured is None else f"measured {format_value(line.metric, line.measured)}"
    of = "" if line.baseline is None else f" on {format_value(line.metric, line.baseline)}"
    text = f"{line.metric}{where}: limit {line.limit}{of}, {measured}"
    if line.margin is not None:
        text += f", margin {margin_text(line)}"
    return f"{text} ({line.reason})" if line.reason else text


def _place(check: Check, folder: Path) -> Iterator[str]:
    for grown in check.grown:
        file, _, number = (grown.source or "").rpartition(":")
        if number.isdecimal() and (folder / file).is_file():
            yield f"file={_property((folder / file).as_posix())}"
            yield f"line={number}"
            return


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _xml(text: str) -> str:
    """XML 1.0 has no place for control characters, not even escaped."""
    return printable(text)
