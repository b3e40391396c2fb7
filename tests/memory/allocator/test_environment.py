"""What the environment asks of the allocator, against what a torch release reads and a snapshot shows."""

import pytest

from lrtool.memory.allocator.environment import allocator_variables, conf_asked_for, not_in_force, problems_of
from lrtool.memory.allocator.versions import TorchVersion

NEW = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
OLD = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
DEFAULTS = {"expandable_segments": False, "max_split_size": -1, "garbage_collection_threshold": 0.0}


def test_only_variables_that_are_set_and_mean_the_allocator_are_taken() -> None:
    assert allocator_variables({**OLD, "PYTORCH_ALLOC_CONF": "", "HOME": "/root"}) == OLD


def test_the_old_name_wins_as_in_torch() -> None:
    assert conf_asked_for({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64", **OLD}) == "expandable_segments:True"


@pytest.mark.parametrize(
    ("variables", "minor", "says"),
    [
        (NEW, 8, "torch 2.8 does not read PYTORCH_ALLOC_CONF"),
        (NEW, 9, "ignores expandable_segments in PYTORCH_ALLOC_CONF (pytorch#183387)"),
        (NEW, 10, "pytorch#183387"),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64", **OLD}, 13, "both set and differ: PYTORCH_CUDA_ALLOC_CONF wins"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segment:True"}, 13, "did you mean 'expandable_segments'?"),
        ({"PYTORCH_NO_CUDA_MEMORY_CACHING": "0"}, 6, "nothing is cached"),
        ({"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, 13, "nothing is cached"),
    ],
)  # fmt: skip
def test_what_this_torch_does_not_take_is_named(variables: dict[str, str], minor: int, says: str) -> None:
    (problem,) = problems_of(variables, TorchVersion(2, minor))

    assert says in problem


@pytest.mark.parametrize(
    ("variables", "minor"),
    [({}, 13), (OLD, 8), (OLD, 13), (NEW, 11), ({**NEW, **OLD}, 13), ({"PYTORCH_NO_CUDA_MEMORY_CACHING": "0"}, 7)],
)
def test_what_it_takes_is_no_problem(variables: dict[str, str], minor: int) -> None:
    assert problems_of(variables, TorchVersion(2, minor)) == ()


def test_an_option_that_the_snapshot_does_not_show_is_not_in_force() -> None:
    asked = "expandable_segments:True,max_split_size_mb:128,garbage_collection_threshold:0.8"

    found = not_in_force(asked, DEFAULTS, TorchVersion(2, 9))

    assert [problem.partition(":")[0] for problem in found] == list(DEFAULTS)


def test_an_option_that_it_shows_is_in_force_and_what_it_does_not_record_is_not_judged() -> None:
    asked = "expandable_segments:True,max_split_size_mb:128,garbage_collection_threshold:0.8"
    recorded = {"expandable_segments": True, "max_split_size": 128 * 2**20, "garbage_collection_threshold": 0.8}

    assert not_in_force(asked, recorded, TorchVersion(2, 9)) == ()
    assert not_in_force(asked, {}, TorchVersion(2, 9)) == ()
    assert not_in_force("", DEFAULTS, TorchVersion(2, 9)) == ()
