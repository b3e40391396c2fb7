"""Reads the pickles of `torch.cuda.memory._dump_snapshot` without running anything that is in them.

Only opcodes which build plain data are known here: numbers, texts, lists, tuples, and dicts whose keys are texts. Nothing
else can come of a file, whatever it says, and no more objects than it has opcodes. Objects may hold one another in such a
way that comparing, hashing or showing them takes for ever: who goes through them checks the type of each first.
"""

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any

from lrtool.memory.trace.allocation_trace import TraceError

MAX_TEXT_BYTES = 2**20
MAX_INTEGER_BYTES = 2**8 - 1
_U16, _U32, _U64, _I32 = (Struct(kind).unpack_from for kind in ("<H", "<I", "<Q", "<i"))
_DOUBLE = Struct(">d").unpack_from
_HIGHEST_PROTOCOL = 5
_CONSTANTS = {ord("N"): None, 0x88: True, 0x89: False}
_EMPTY: dict[int, Callable[[], Any]] = {ord("}"): dict, ord("]"): list, ord(")"): tuple}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_Unpack = Callable[[bytes, int], tuple[int]]
_TEXTS: dict[int, tuple[_Unpack, int]] = {ord("X"): (_U32, 4), 0x8D: (_U64, 8)}
_BYTES: dict[int, tuple[_Unpack, int]] = {
    ord("C"): (lambda data, at: (data[at],), 1), ord("B"): (_U32, 4), 0x8E: (_U64, 8)
}  # fmt: skip
_LONGS: dict[int, tuple[_Unpack, int]] = {0x8B: (_I32, 4)}
_LINES = frozenset(b"IFLVpg")


class _Refused(Exception):
    """Why a pickle is not read."""


def load_snapshot(data: bytes, *, name: str, max_objects: int | None = None) -> Any:
    """The plain data pickled in `data`. Raises TraceError where it is anything else, broken or holds too much."""
    try:
        return _Reader(data, len(data) if max_objects is None else max_objects).read()
    except _Refused as refusal:
        reason = str(refusal)
    except (IndexError, StructError):
        reason = "a broken pickle: it is cut off, or refers to what it does not hold"
    except ValueError:
        reason = "a broken pickle: it holds a number or a text that is none"
    raise TraceError(f"{name}: {reason}", hint="only what torch.cuda.memory._dump_snapshot writes is read")


class _Reader:
    """The stack machine of a pickle, with those of its opcodes that build plain data."""

    def __init__(self, data: bytes, max_objects: int) -> None:
        self._data = data
        self._max_objects = max_objects
        self._memo: list[Any] = []
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []

    def read(self) -> Any:
        """What the pickle holds; the opcodes that a snapshot consists of for the most part come first."""
        data, memo, stack, below = self._data, self._memo, self._stack, self._below
        position, left = 0, self._max_objects
        while True:
            code = data[position]
            position += 1
            if code == 0x6A:  # LONG_BINGET
                stack.append(memo[_U32(data, position)[0]])
                position += 4
                continue
            if code == 0x68:  # BINGET
                stack.append(memo[data[position]])
                position += 1
                continue
            left -= 1
            if left < 0:
                raise _Refused("it holds more than a compressed file of its size may: unpack it first, with gunzip")
            if code == 0x94:  # MEMOIZE
                memo.append(stack[-1])
            elif code == 0x28:  # MARK
                below.append(stack)
                stack = []
            elif code == 0x8A:  # LONG1
                stop = position + 1 + data[position]
                stack.append(int.from_bytes(data[position + 1 : stop], "little", signed=True))
                position = stop
            elif code == 0x4B:  # BININT1
                stack.append(data[position])
                position += 1
            elif code == 0x4A:  # BININT
                stack.append(_I32(data, position)[0])
                position += 4
            elif code == 0x4D:  # BININT2
                stack.append(_U16(data, position)[0])
                position += 2
            elif code == 0x8C:  # SHORT_BINUNICODE
                stop = position + 1 + data[position]
                stack.append(data[position + 1 : stop].decode("utf-8", "surrogatepass"))
                position = stop
            elif code in _EMPTY:
                stack.append(_EMPTY[code]())
            elif code == 0x75:  # SETITEMS
                items, stack = stack, below.pop()
                _set_items(stack[-1], items)
            elif code == 0x65:  # APPENDS
                items, stack = stack, below.pop()
                _list(stack[-1]).extend(items)
            elif code == 0x61:  # APPEND
                item = stack.pop()
                _list(stack[-1]).append(item)
            elif code == 0x73:  # SETITEM
                items = [stack.pop(-2), stack.pop()]
                _set_items(stack[-1], items)
            elif code in _TUPLES:
                count = _TUPLES[code]
                if len(stack) < count:
                    raise IndexError
                stack[-count:] = [tuple(stack[-count:])]
            elif code in _CONSTANTS:
                stack.append(_CONSTANTS[code])
            elif code == 0x2E:  # STOP
                return stack.pop()
            elif code in b"tld":
                items, stack = stack, below.pop()
                stack.append(_collected(code, items))
            elif code in _LINES:
                stop = data.index(b"\n", position)
                self._line(code, data[position:stop], stack)
                position = stop + 1
            else:
                position = self._argument(code, position, stack)

    def _argument(self, code: int, position: int, stack: list[Any]) -> int:
        """An opcode with an argument of some bytes; returns the position behind it."""
        data = self._data
        if code in _TEXTS:
            position, content = self._prefixed(_TEXTS[code], position, MAX_TEXT_BYTES)
            stack.append(content.decode("utf-8", "surrogatepass"))
        elif code in _LONGS:
            position, content = self._prefixed(_LONGS[code], position, MAX_INTEGER_BYTES)
            stack.append(int.from_bytes(content, "little", signed=True))
        elif code in _BYTES:
            position, content = self._prefixed(_BYTES[code], position, MAX_TEXT_BYTES)
            stack.append(content)
        elif code == ord("G"):
            stack.append(_DOUBLE(data, position)[0])
            position += 8
        elif code == ord("q"):
            self._put(data[position], stack[-1])
            position += 1
        elif code == ord("r"):
            self._put(_U32(data, position)[0], stack[-1])
            position += 4
        elif code == 0x95:  # FRAME: how the bytes are grouped
            position += 8
        elif code == 0x80 and data[position] <= _HIGHEST_PROTOCOL:
            position += 1
        else:
            where = f"byte {position - 1} is not plain data"
            raise _Refused(f"{where}: a pickle that could run code, or no pickle at all")
        return position

    def _put(self, number: int, value: Any) -> None:
        """Every pickler counts up: a number further on would only claim memory."""
        if not 0 <= number <= len(self._memo):
            raise _Refused("a broken pickle: it does not count up what it remembers")
        self._memo[number : number + 1] = [value]

    def _prefixed(self, kind: tuple[_Unpack, int], position: int, most: int) -> tuple[int, bytes]:
        """(the position behind, the content) of an argument that begins with its length."""
        unpack, width = kind
        length = unpack(self._data, position)[0]
        begin, stop = position + width, position + width + length
        if length < 0 or stop > len(self._data):
            raise _Refused(f"byte {position - 1} claims more than the file has: a broken pickle")
        if length > most:
            raise _Refused(f"byte {position - 1} begins a text or a number of {length} bytes, which no snapshot has")
        return stop, self._data[begin:stop]

    def _line(self, code: int, line: bytes, stack: list[Any]) -> None:
        """An opcode whose argument is a line of text, as in the oldest protocol."""
        if code == ord("V"):
            stack.append(line[:MAX_TEXT_BYTES].decode("raw-unicode-escape"))
            return
        text = line[:40].decode("ascii").strip()
        if code == ord("p"):
            self._put(int(text), stack[-1])
        elif code == ord("g"):
            stack.append(self._memo[max(int(text), 0)])
        elif code == ord("F"):
            stack.append(float(text))
        elif text in ("00", "01"):
            stack.append(text == "01")
        else:
            stack.append(int(text.removesuffix("L")))


def _collected(code: int, items: list[Any]) -> Any:
    """All since the last mark, as a tuple, a list or a dict."""
    if code == ord("t"):
        return tuple(items)
    if code == ord("l"):
        return items
    made: dict[str, Any] = {}
    _set_items(made, items)
    return made


def _set_items(target: Any, items: list[Any]) -> None:
    """Keys are texts only: to hash anything else may take for ever, and what hashes alike is slow to find."""
    if type(target) is not dict or len(items) % 2:
        raise _Refused("a broken pickle: it sets items of what has none")
    keys = items[::2]
    if keys and set(map(type, keys)) != {str}:
        raise _Refused("a key in it is no text, which no snapshot has")
    target.update(zip(keys, items[1::2], strict=True))


def _list(target: Any) -> list[Any]:
    if type(target) is not list:
        raise _Refused("a broken pickle: it appends to what is no list")
    return target
