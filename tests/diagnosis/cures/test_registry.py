"""The names of cures: every one that the docs list is known, and told apart from what is none."""

import re

import pytest

from lrtool.cli.cure_run import progress_line
from lrtool.diagnosis.cures.registry import NAMES, find_cures, find_options
from lrtool.errors import UsageError
from tests import ROOT


def test_every_cure_that_the_docs_list_can_be_named() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "cures.md").read_text(), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}

    assert listed == set(NAMES)
    assert len(find_cures(listed)) + len(find_options(listed)) == len(listed)


def test_what_is_no_cure_is_refused_with_the_nearest_name() -> None:
    for find in (find_cures, find_options):
        with pytest.raises(UsageError) as raised:
            find(["expandable_segments"])
        assert "expandable-segments" in (raised.value.hint or "")


def test_a_trial_by_itself_is_not_counted() -> None:
    assert progress_line("baseline", 1, 1) == "cures: baseline done"
    assert progress_line("bf16", 2, 5) == "cures: 2 of 5 done, bf16"
