"""The pytest plugin: `@pytest.mark.lrtool_peak("2 GiB")` fails a test whose training step uses more memory.

The marked test returns its build() function, or a target such as "model.py:build"; what it measures is said on failure.
"""

from collections.abc import Callable, Generator
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lrtool.pytest_plugin.step_peak import StepLimits
    from lrtool.results import Check

MARK = "lrtool_peak"
USAGE = (
    f'{MARK}(limit, *, growth=None, steps=3, recorder="predicted", gpu="h100", params=None): the training steps of the '
    "build() function that the test returns must not allocate more than the limit at once"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, also under --strict-markers."""
    config.addinivalue_line("markers", USAGE)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run a marked test, and measure what it returns."""
    mark = pyfuncitem.get_closest_marker(MARK)
    if mark is None:
        return (yield)
    original = pyfuncitem.obj
    pyfuncitem.obj = _measuring(original, mark)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = original


def _measuring(test: Callable[..., Any], mark: pytest.Mark) -> Callable[..., None]:
    @wraps(test)
    def measured(**fixtures: Any) -> None:
        __tracebackhide__ = True
        limits = _limits(*mark.args, **mark.kwargs)
        _hold(test(**fixtures), limits)

    return measured


def _hold(build: object, limits: "StepLimits") -> None:
    __tracebackhide__ = True
    from lrtool.errors import LrtoolError, UnavailableError
    from lrtool.pytest_plugin.step_peak import check_steps

    if not callable(build) and not isinstance(build, str):
        pytest.fail(f"a test marked {MARK} returns its build() function, or a target; not {build!r:.60}", pytrace=False)
    try:
        found = check_steps(build, limits)
    except UnavailableError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    except LrtoolError as error:
        pytest.fail(f"{error.message}\nhint: {error.hint}", pytrace=False)
    if not found.passed:
        pytest.fail(_text(found), pytrace=False)


def _limits(
    limit: str | int | None = None,
    *,
    growth: str | int | None = None,
    steps: int | None = None,
    recorder: Any = "predicted",
    gpu: str = "h100",
    params: dict[str, Any] | None = None,
) -> "StepLimits":
    """The mark's arguments. Growth needs more steps than a peak, which a step after the first one has."""
    __tracebackhide__ = True
    from lrtool.pytest_plugin.step_peak import StepLimits
    from lrtool.units import parse_bytes, parse_memory

    if limit is None and growth is None:
        pytest.fail(f'{MARK} needs a limit: @pytest.mark.{MARK}("2 GiB")', pytrace=False)
    return StepLimits(
        peak_bytes=_bytes(limit, parse_memory),
        growth_bytes_per_step=_bytes(growth, parse_bytes),
        num_steps=steps or (3 if growth is None else 30),
        recorder=recorder,
        gpu=gpu,
        params=params or {},
    )


def _bytes(value: str | int | None, parse: Callable[[str], int]) -> int | None:
    __tracebackhide__ = True
    from lrtool.errors import UsageError
    from lrtool.units import parse_bytes

    try:
        return None if value is None else parse(value) if isinstance(value, str) else parse_bytes(str(value))
    except UsageError as error:
        return pytest.fail(f"{MARK}: {error.message}; {error.hint}", pytrace=False)


def _text(found: "Check") -> str:
    from lrtool.report.gate.tables import grown_text

    lines = [found.answer, *(f"  {grown_text(grown)}" for grown in found.grown)]
    return "\n".join(lines)
