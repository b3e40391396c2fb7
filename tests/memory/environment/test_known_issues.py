"""Which known issues a torch release has; the scheduler rows were tried on the releases named here."""

import pytest

from lrtool.memory.environment.known_issues import KNOWN_ISSUES, known_issues_of


def titles(*version: int) -> str:
    return "\n".join(issue.title for issue in known_issues_of((version[0], version[1])))


@pytest.mark.parametrize(
    ("version", "cyclic_keeps", "cannot_be_pickled", "one_cycle_keeps"),
    [((1, 12), True, False, True), ((1, 13), False, True, True), ((2, 0), False, False, True), ((2, 2), False, False, False)],
)  # fmt: skip
def test_schedulers_that_keep_a_model_alive(
    version: tuple[int, int], cyclic_keeps: bool, cannot_be_pickled: bool, one_cycle_keeps: bool
) -> None:
    found = titles(*version)

    assert ("CyclicLR keeps" in found) is cyclic_keeps
    assert ("cannot be pickled" in found) is cannot_be_pickled
    assert ("OneCycleLR keeps" in found) is one_cycle_keeps


@pytest.mark.parametrize(("minor", "ignored"), [(8, False), (9, True), (10, True), (11, False)])
def test_the_release_that_ignores_expandable_segments_under_the_new_name(minor: int, ignored: bool) -> None:
    assert ("is ignored on CUDA" in titles(2, minor)) is ignored


def test_workspaces_are_kept_or_passing_never_both() -> None:
    for minor in range(16):
        assert ("cuBLAS keeps" in titles(2, minor)) is not ("taken and given back" in titles(2, minor))


def test_every_trap_says_what_to_do_and_who_says_so() -> None:
    assert all(issue.title and issue.advice and issue.source for issue in KNOWN_ISSUES)
    assert all(issue.since is None or issue.before is None or issue.since < issue.before for issue in KNOWN_ISSUES)
