"""The border to the user's code: whatever it raises becomes a WorkloadError with the user's own frames, and none of ours."""

import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import lrtool
from lrtool.errors import LrtoolError, WorkloadError

_OURS = Path(lrtool.__file__).resolve().parent
_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}  # also those of the user and of other environments
_FRAME = re.compile(r'^  File "(?P<file>.+?)", line .*\n(?:    .*\n)*', re.MULTILINE)
MAX_FRAMES = 8
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@contextmanager
def user_code(doing: str) -> Iterator[None]:
    """Run user code; `doing` begins the message: "build()" gives "build() raised ValueError: ...".

    Raises WorkloadError for everything but lrtool's own errors, KeyboardInterrupt, and what ends a test of pytest.
    """
    try:
        yield
    except (LrtoolError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also what is no Exception: a cancelled task, the panic of a Rust extension
        if any(kind.__name__ == "OutcomeException" for kind in type(error).__mro__):  # a skip in a test, say
            raise
        raise failure_of(error, doing=doing) from error


def failure_of(error: BaseException, *, doing: str) -> WorkloadError:
    """The WorkloadError that tells `error`, raised by user code while `doing`."""
    if isinstance(error, SystemExit):
        return WorkloadError(
            f"{doing} called sys.exit({error.code!r})",
            hint='remove the call, or put it under `if __name__ == "__main__":`',
            trace=user_frames(error),
        )
    if "in DataLoader worker process" in str(error):
        return _failure_of_worker(error, doing=doing)
    what = str(error).strip().partition("\n")[0]
    return WorkloadError(
        f"{doing} raised {type(error).__name__}{': ' if what else ''}{what}",
        hint=_hint(error),
        trace=user_frames(error),
    )


def _failure_of_worker(error: BaseException, *, doing: str) -> WorkloadError:
    """What a DataLoader worker raised comes as one text: its traceback as printed there, with the user's frames in it."""
    printed = f"{error}\n"
    frames = list(_FRAME.finditer(printed))
    what = printed[frames[-1].end() :].partition("\n")[0] if frames else type(error).__name__
    users = [frame[0] for frame in frames if is_users_file(frame["file"])]
    return WorkloadError(
        f"{doing} raised {what} (in a DataLoader worker)",
        hint=_hint(error),
        trace="".join(users[-MAX_FRAMES:]).rstrip() or None,
    )


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function; `*unknown` where it does not tell, as some builtins do not."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("unknown", inspect.Parameter.VAR_POSITIONAL)]


def is_out_of_memory(error: BaseException) -> bool:
    """True for torch's OutOfMemoryError on any device, and for the CPU allocator's plain RuntimeError."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def user_frames(error: BaseException) -> str | None:
    """The frames of `error` that stand in the user's files, as Python prints them; None where there are none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users_file(f.filename)]
    if isinstance(error, SyntaxError) and error.filename and is_users_file(error.filename):
        place = traceback.TracebackException.from_exception(error).format_exception_only()
        return "".join(line for line in place if line.startswith(" ")).rstrip() or None
    return "".join(traceback.format_list(frames[-MAX_FRAMES:])).rstrip() or None


def innermost_line(error: BaseException) -> str | None:
    """`file.py:line` of the user's innermost frame in which `error` was raised; None where there is none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users_file(f.filename)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None


def is_users_file(filename: str) -> bool:
    """Whether a file is the user's own: neither lrtool's, nor of an installed package, nor generated code."""
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    if path.is_relative_to(_OURS / "examples"):
        return True
    if _PACKAGE_FOLDERS & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in (_OURS, *_LIBRARIES))


def users_files() -> list[str]:
    """The user's own files that are imported."""
    files = {getattr(module, "__file__", None) or "<none>" for module in list(sys.modules.values())}
    return sorted(filter(is_cached_users_file, files))


is_cached_users_file = cache(is_users_file)


def is_library_file(filename: str) -> bool:
    """Whether a file belongs to an installed package other than lrtool; the standard library is none."""
    path = Path(filename)
    packages = [folder for folder in _LIBRARIES if folder.name in ("site-packages", "dist-packages")]
    return not path.is_relative_to(_OURS) and any(path.is_relative_to(folder) for folder in packages)


def _hint(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "make the batches smaller, for example with --param batch_size=N, if `build` takes one"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install {error.name.partition('.')[0]!r} in this environment, or run lrtool from the one that has it"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "name it as a module instead: package.module:build"
    if isinstance(error, SyntaxError):
        return "the file must run under the Python that runs lrtool"
    if "not attached to a `Trainer`" in str(error):
        return "there is no Lightning Trainer in a range test: use what the module itself knows, or return a dict"
    if isinstance(error, ValueError) and "empty parameter list" in str(error):
        return "the model has no parameters: give the optimizer something to train"
    return "this comes from the user's code, not from lrtool; -vv shows the whole traceback"
