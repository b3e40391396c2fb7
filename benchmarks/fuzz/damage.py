"""What becomes of a file: its bytes damaged, or what stands in it, so that it still is of its kind."""

import codecs
import copy
import csv
import gzip
import io
import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

_TOKENS: dict[str, Callable[[Random], str]] = {
    "@@deep": lambda draw: _nested(draw, "[", "]"),
    "@@deeper": lambda draw: _nested(draw, '{"a":', "}", inner="1"),
    "@@huge": lambda draw: "9" * draw.choice((19, 20, 400, 5000)),
    "@@over": lambda draw: draw.choice(("1e999", "-1e999", "1e308", "Infinity", "NaN", "-0", "01", "1.", "0x10")),
}
"""Texts that stand for what no writer of JSON would write."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 12, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 0.0,
    -0.0, 0.1, -2.5, 5e-324, 1e-12, 1e18, 1e149, 1e151, 1.7e308, float("nan"), float("inf"), float("-inf"), "", " ",
    "0", "nan", "1e400", "last", "none", "auto", "ok", "oom", "cpu", "h100", "a" * 3000, "\x00", "\x1b[2J\x07",
    "a\r\nb\tc", "\u2028\u200b", "\U0001f600\u0301", "\ud83d", "\udc80.py", "::warning file=x::y", "##[group]",
    "<img src=x onerror=y>", "]]>", "{{ 7 * 7 }}", "%s%n", "$x_{$", "=cmd()", "[bold]", "../..", "not-a-date",
    "2026-02-30T99:00:00", [], {}, [[]], [{}], [1, "a", None], {"": None}, {"x": {"y": {"z": [1]}}}, [0.5] * 3,
    ["a"] * 50, *_TOKENS,
)  # fmt: skip
KEYS = ("", "x", "a\nb", "\x1b[31m", "\udcff", "::error::", "__class__", "schema", "0", "a" * 300)


def damaged_bytes(content: bytes, draw: Random) -> bytes:
    """One to three changes anywhere, now and then one of the whole."""
    if draw.random() < 0.15:
        return draw.choice(_WHOLES)(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        begin = draw.randrange(len(content) + 1)
        end = min(len(content), begin + draw.choice((1, 1, 4, 30, 200)))
        content = content[:begin] + draw.choice(_PIECES)(content[begin:end], draw) + content[end:]
    return content[: draw.randrange(len(content) + 1)] if draw.random() < 0.15 else content


_PIECES: tuple[Callable[[bytes, Random], bytes], ...] = (
    lambda piece, draw: b"",
    lambda piece, draw: bytes(each ^ (1 << draw.randrange(8)) for each in piece[:1]) + piece[1:],
    lambda piece, draw: piece + draw.randbytes(draw.choice((1, 2, 9))),
    lambda piece, draw: piece * draw.choice((2, 3, 50)),
    lambda piece, draw: bytes(len(piece)),
    lambda piece, draw: piece[::-1],
    lambda piece, draw: draw.choice(
        (b"9" * 30, b'"', b"\\u0000", b"\n", b"[[[[", b"\xff\xfe", b"\x1b[31m", b"-", b"e9")
    ),
)
_WHOLES: tuple[Callable[[bytes], bytes], ...] = (
    lambda content: b"",
    lambda content: codecs.BOM_UTF8 + content,
    lambda content: codecs.BOM_UTF16_LE + content.decode("latin-1").encode("utf-16-le"),
    lambda content: content.decode("latin-1").encode("utf-16"),
    lambda content: content.replace(b"\n", b"\r\n"),
    lambda content: content.replace(b"\n", b"\r"),
    lambda content: gzip.compress(content),
    lambda content: content + content,
    lambda content: bytes(len(content)),
    lambda content: b"\n \n" + content,
)


def damaged_document(document: Any, draw: Random) -> Any:
    """A copy with one to four places of it changed."""
    whole = {"": copy.deepcopy(document)}
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        container, key = _place(whole, draw)
        draw.choice(_CHANGES)(container, key, draw)
    return whole.get("")


def _place(whole: Any, draw: Random) -> tuple[Any, Any]:
    """As likely in a long list as beside it."""
    container, key = whole, ""
    while isinstance(inner := container[key], dict | list) and inner and draw.random() < 0.9:
        container, key = inner, draw.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
    return container, key


def _set(container: Any, key: Any, draw: Random) -> None:
    container[key] = copy.deepcopy(draw.choice(VALUES))


def _leave_out(container: Any, key: Any, draw: Random) -> None:
    del container[key]
    if key == "":
        container.setdefault("", None)


def _add(container: Any, key: Any, draw: Random) -> None:
    inner = container[key]
    if isinstance(inner, dict):
        inner[draw.choice(KEYS)] = copy.deepcopy(draw.choice(VALUES))
    elif isinstance(inner, list):
        inner.append(copy.deepcopy(draw.choice((*VALUES, *inner[:3]))))
    else:
        container[key] = [inner]


def _shift(container: Any, key: Any, draw: Random) -> None:
    inner = container[key]
    if isinstance(inner, bool) or not isinstance(inner, int | float):
        container[key] = draw.choice((str(inner)[:99], [inner], {"a": inner}, None))
    else:
        container[key] = draw.choice((-inner, inner + 1, inner * 10**6, inner / 3, str(inner), 0, inner * 10**15))


def _resize(container: Any, key: Any, draw: Random) -> None:
    inner = container[key]
    if isinstance(inner, list):
        inner[:] = (inner * 3)[: draw.choice((0, 1, len(inner) // 2, len(inner) - 1, len(inner) + 1, 3 * len(inner)))]
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(inner))
    elif isinstance(inner, str):
        container[key] = inner + draw.choice(("\n", "\x1b[31m", "x" * 200, "\udc80", "::error::"))
    else:
        _set(container, key, draw)


def _rename(container: Any, key: Any, draw: Random) -> None:
    if isinstance(container, dict) and key != "":
        container[draw.choice((*KEYS, str(key).upper(), f"{key} "))] = container.pop(key)
    else:
        _set(container, key, draw)


def _exchange(container: Any, key: Any, draw: Random) -> None:
    keys = list(container) if isinstance(container, dict) else range(len(container))
    other = draw.choice(list(keys))
    container[key], container[other] = container[other], container[key]


_CHANGES = (_set, _set, _set, _leave_out, _add, _shift, _shift, _resize, _rename, _exchange)


def json_bytes(document: Any, draw: Random) -> bytes:
    """As JSON, now and then with a key twice, with raw characters, or with what no document should hold."""
    text = json.dumps(document, ensure_ascii=draw.random() < 0.8, indent=draw.choice((None, 1)))
    for token, written in _TOKENS.items():
        text = text.replace(f'"{token}"', written(draw)) if f'"{token}"' in text else text
    if draw.random() < 0.05:
        text = _with_a_key_twice(text, draw)
    return text.encode("utf-8", "surrogatepass")


def _nested(draw: Random, opening: str, closing: str, inner: str = "") -> str:
    depth = draw.choice((30, 300, 3000, 100_000))
    return opening * depth + inner + closing * depth


def _with_a_key_twice(text: str, draw: Random) -> str:
    found = [match.span() for match in re.finditer(r'"\w+": ', text)]
    if not found:
        return text
    begin, end = draw.choice(found)
    return f"{text[:begin]}{text[begin:end]}{json.dumps(draw.choice((None, 1, 'x', [], {})))}, {text[begin:]}"


def damaged_json(content: bytes, draw: Random) -> bytes:
    return json_bytes(damaged_document(json.loads(content), draw), draw)


def damaged_lines(content: bytes, draw: Random) -> bytes:
    """JSON lines: some of them changed, twice, in another order, or gone."""
    lines = content.splitlines()
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(lines))
        kind = draw.choice(("change", "change", "change", "again", "away", "first", "join"))
        if kind == "change":
            lines[at] = json_bytes(damaged_document(_parsed(lines[at]), draw), draw).replace(b"\n", b" ")
        elif kind == "again":
            lines.insert(draw.randrange(len(lines)), lines[at])
        elif kind == "away" and len(lines) > 1:
            del lines[at]
        elif kind == "first":
            lines.insert(0, lines.pop(at))
        else:
            lines[at] *= 2
    return b"\n".join(lines)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return {"op": "alloc", "id": 1, "size": 1}


def damaged_table(content: bytes, draw: Random) -> bytes:
    """A CSV file: cells changed, rows and columns of another length."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    document = damaged_document(rows, draw)
    rows = document if isinstance(document, list) else [document]
    text = io.StringIO()
    csv.writer(text).writerows(row if isinstance(row, list) else [row] for row in rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def damaged_pickle(content: bytes, draw: Random) -> bytes:
    """A snapshot that this program made, with other values in it."""
    document = damaged_document(pickle.loads(gzip.decompress(content) if content[:1] == b"\x1f" else content), draw)
    written = pickle.dumps(document, protocol=draw.randrange(6))
    return gzip.compress(written, 1) if draw.random() < 0.2 else written


def damaged_packed_lines(content: bytes, draw: Random) -> bytes:
    return gzip.compress(damaged_lines(gzip.decompress(content), draw), 1)


_RAW_TOML = (
    "[range-test]\n[range-test]\n", "seed = 1\nseed = 2\n", "seed = 1979-05-27\n", "out = 07:32:00\n",
    "a.b.c.d.e.f = 1\n", "[[mem-sweep]]\n", "params = {a = 1}\n", "params.x = nan\n",
    "seed = 0xffffffffffffffffffff\n", "seed = -inf\n", 'out = "\\u0000"\n', 'out = """a\nb"""\n', "'a\x1bb' = 1\n",
    "[budget.max]\ngrowth = 1e400\n", '"\\u001b[31m" = 1\n', "[tool.lrtool]\nseed = 1\n",
    "out = 'caf\u00e9\u202e'\n", "params = [1]\n", "[params]\n'a b' = 1\n",
)  # fmt: skip


def damaged_settings(document: Mapping[str, Any], draw: Random) -> bytes:
    """Settings as TOML, with other values, other keys, or what no settings file should hold."""
    changed = damaged_document(document, draw)
    text = "".join(_toml_lines(changed)) if isinstance(changed, dict) else str(changed)
    for token, written in _TOKENS.items():
        text = text.replace(f'"{token}"', written(draw)) if f'"{token}"' in text else text
    if draw.random() < 0.3:
        text = draw.choice((draw.choice(_RAW_TOML) + text, text + draw.choice(_RAW_TOML)))
    return text.encode("utf-8", "surrogatepass")


def _toml_lines(document: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    for key, value in document.items():
        if key not in tables:
            yield f"{json.dumps(str(key))} = {_toml_value(value)}\n"
    for key, value in tables.items():
        name = f"{prefix}{json.dumps(str(key))}"
        yield f"[{name}]\n"
        yield from _toml_lines(value, f"{name}.")


def _toml_value(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(str(key))} = {_toml_value(each)}' for key, each in value.items())}}}"
    return json.dumps(value)
