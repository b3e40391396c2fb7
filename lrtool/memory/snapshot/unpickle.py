"""Loads the pickles of `torch.cuda.memory._dump_snapshot` without running anything that is in them.

Only opcodes which build plain data may occur: the bytes are walked before they are unpickled, so that a pickle that
names a function, or claims more memory than it has bytes, is refused untouched.
"""

import pickle
from io import BytesIO
from typing import Any, BinaryIO, NoReturn

from lrtool.memory.trace.allocation_trace import TraceError

MAX_PICKLE_BYTES = 2**31
_CHUNK_BYTES = 2**24

# Bytes of argument that follow each data opcode; see pickletools for their meaning.
_FIXED = dict.fromkeys(b"(.012NNabdelst)]}u\x85\x86\x87\x88\x89\x8f\x90\x91\x94", 0) | {
    ord("\x80"): 1, ord("\x95"): 8, ord("G"): 8, ord("J"): 4, ord("K"): 1, ord("M"): 2, ord("h"): 1, ord("j"): 4,
    ord("q"): 1, ord("r"): 4,
}  # fmt: skip
_PREFIXED = {
    ord("X"): 4, ord("\x8c"): 1, ord("\x8d"): 8, ord("B"): 4, ord("C"): 1, ord("\x8e"): 8, ord("T"): 4, ord("U"): 1,
    ord("\x8a"): 1, ord("\x8b"): 4,
}  # fmt: skip
_LINES = frozenset(b"ILFSVpg")
_PUTS = {ord("q"): 1, ord("r"): 4}


class _DataUnpickler(pickle.Unpickler):
    """Refuses every global, persistent object and extension, should one get past the walk."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to an object outside")


def load_snapshot(file: BinaryIO, *, name: str) -> Any:
    """The plain data pickled in `file`. Raises TraceError where it is anything else, broken or over 2 GiB."""
    data = _read_all(file, name)
    refusal = _refusal(data)
    if refusal is not None:
        raise TraceError(f"{name}: {refusal}", hint="only what torch.cuda.memory._dump_snapshot writes is read")
    try:
        return _DataUnpickler(BytesIO(data)).load()
    except Exception as error:  # a broken pickle can raise nearly anything
        raise TraceError(f"{name}: a broken pickle: {_brief(error)}", hint="is the file complete?") from None


def _read_all(file: BinaryIO, name: str) -> bytes:
    data = bytearray()
    while chunk := file.read(_CHUNK_BYTES):
        data += chunk
        if len(data) > MAX_PICKLE_BYTES:
            raise TraceError(
                f"{name}: over 2 GiB unpacked", hint="record fewer events: _record_memory_history(max_entries=)"
            )
    return bytes(data)


def _refusal(data: bytes) -> str | None:
    """Why these bytes are no pickle of plain data, or None."""
    position, end = 0, len(data)
    while position < end:
        code = data[position]
        start = position + 1
        if code in _FIXED:
            position = start + _FIXED[code]
            if code in _PUTS and int.from_bytes(data[start:position], "little") > end:
                return f"byte {start - 1} claims more memory than the file has bytes"
        elif code in _PREFIXED:
            width = _PREFIXED[code]
            position = start + width + int.from_bytes(data[start : start + width], "little")
        elif code in _LINES:
            newline = data.find(b"\n", start)
            position = newline + 1 if newline >= 0 else end + 1
            if code == ord("p") and _claims_too_much(data[start : newline + 1], end):
                return f"byte {start - 1} claims more memory than the file has bytes"
        else:
            return f"byte {start - 1} is not plain data: a pickle that could run code, or no pickle at all"
        if code == ord("."):
            return None
    return "a broken pickle: it is cut off"


def _claims_too_much(argument: bytes, end: int) -> bool:
    text = argument.strip()
    return not text.isdigit() or len(text) > 12 or int(text) > end


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
