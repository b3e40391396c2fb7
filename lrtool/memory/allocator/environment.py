"""Whether the allocator does what the environment asks of it: names that this torch does not read, options not in force."""

from collections.abc import Mapping
from typing import Any

from lrtool.errors import UsageError
from lrtool.memory.allocator.config import UNLIMITED_BYTES, AllocatorSettings, parse_settings
from lrtool.memory.allocator.versions import TorchVersion

NEW_NAME, OLD_NAME, NO_CACHING = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING"
VARIABLES = (NEW_NAME, OLD_NAME, NO_CACHING)
_NEW_NAME_SINCE = 9
_NEW_NAME_MEANS_EXPANDABLE_SINCE = 11


def allocator_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those variables of an environment that configure the CUDA allocator."""
    return {name: environment[name] for name in VARIABLES if environment.get(name)}


def conf_asked_for(variables: Mapping[str, str]) -> str:
    """The configuration that is meant: the old name's where both are set, as torch reads them."""
    return variables.get(OLD_NAME) or variables.get(NEW_NAME) or ""


def problems_of(variables: Mapping[str, str], version: TorchVersion) -> tuple[str, ...]:
    """What is wrong with the variables before anything runs: names and spellings that this torch does not take."""
    found = [*_problems_of_names(variables, version), *_problem_of_caching(variables, version)]
    try:
        parse_settings(conf_asked_for(variables), version=version)
    except UsageError as error:
        found.append(f"{error.message}: {error.hint}")
    return tuple(found)


def not_in_force(conf: str, recorded: Mapping[str, Any], version: TorchVersion) -> tuple[str, ...]:
    """Options that `conf` asks for and the `allocator_settings` of a snapshot do not show.

    What torch does not record, or lrtool cannot read, is passed over: no difference is claimed without both sides.
    """
    try:
        asked = parse_settings(conf, version=version)
    except UsageError:
        return ()
    wanted = _as_recorded(asked)
    return tuple(
        f"{name}:{value} was asked for, in force is {recorded[name]}"
        for name, value in wanted.items()
        if name in recorded and value is not None and not _is_same(value, recorded[name])
    )


def _problems_of_names(variables: Mapping[str, str], version: TorchVersion) -> list[str]:
    new, old = variables.get(NEW_NAME), variables.get(OLD_NAME)
    if new and old and new != old:
        return [f"{NEW_NAME} and {OLD_NAME} are both set and differ: {OLD_NAME} wins; unset one of them"]
    if not new or old:
        return []
    if not version.has(_NEW_NAME_SINCE):
        return [f"torch {version} does not read {NEW_NAME}: set {OLD_NAME}"]
    if "expandable_segments" in new and not version.has(_NEW_NAME_MEANS_EXPANDABLE_SINCE):
        return [f"torch {version} ignores expandable_segments in {NEW_NAME} (pytorch#183387): set {OLD_NAME}"]
    return []


def _problem_of_caching(variables: Mapping[str, str], version: TorchVersion) -> list[str]:
    value = variables.get(NO_CACHING)
    if value is None or not (value == "1" or version.no_caching_by_any_value):
        return []
    return [f"{NO_CACHING}={value}: nothing is cached, every allocation is slow, and all statistics are 0; unset it"]


def _as_recorded(asked: AllocatorSettings) -> dict[str, Any]:
    """The settings by the names and units of a snapshot; None where they are torch's own."""
    return {
        "expandable_segments": asked.expandable_segments or None,
        "max_split_size": None if asked.max_split_bytes == UNLIMITED_BYTES else asked.max_split_bytes,
        "garbage_collection_threshold": asked.garbage_collection_threshold or None,
    }


def _is_same(value: Any, recorded: Any) -> bool:
    if isinstance(value, float) and isinstance(recorded, float):
        return abs(value - recorded) < 1e-6
    return bool(value == recorded)
