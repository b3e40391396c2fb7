"""The border to the user's code: what passes it as it is, and what becomes an error of the user's."""

import pytest

from lrtool.errors import UsageError, WorkloadError
from lrtool.workload.user_code import user_code


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), UsageError("no", hint="yes"), pytest.skip.Exception("not here")]
)
def test_interrupts_our_own_errors_and_a_tests_verdict_pass(error: BaseException) -> None:
    with pytest.raises(type(error)), user_code("build()"):
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), GeneratorExit("x"), BaseException("x")])
def test_everything_else_is_the_users(error: BaseException) -> None:
    with pytest.raises(WorkloadError, match=r"build\(\)"), user_code("build()"):
        raise error
