"""Settings files: found, read, checked, and overridden in the documented order."""

from dataclasses import fields
from pathlib import Path

import pytest

from lrtool.config import TABLES, RangeTestSettings, Settings
from lrtool.errors import UsageError
from lrtool.option import options_of
from lrtool.settings_file import (
    SettingsFile,
    check_environment,
    find_settings_file,
    read_settings_file,
    resolve,
)  # fmt: skip
from tests import ROOT


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(path: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_settings_file(write(path, text))
    return caught.value


def test_without_a_file_or_options_the_defaults_hold() -> None:
    settings = resolve(SettingsFile(), table="range_test", options={})

    assert settings == Settings()
    assert settings.range_test == RangeTestSettings(
        start_lr=1e-7, end_lr=10.0, num_steps="auto", mode="exp", repeats=1
    )  # fmt: skip


def test_an_option_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    file = read_settings_file(write(tmp_path / "x.toml", "seed = 3\n[range-test]\nnum-steps = 50\nend-lr = 1.0\n"))

    settings = resolve(file, table="range_test", options={"num_steps": 70, "seed": None})

    assert (settings.seed, settings.range_test.num_steps, settings.range_test.end_lr) == (3, 70, 1.0)
    assert settings.range_test.start_lr == 1e-7


def test_params_of_file_and_command_line_are_joined(tmp_path: Path) -> None:
    file = read_settings_file(write(tmp_path / "x.toml", "[params]\nbatch_size = 32\nwidth-x = 8\n"))

    settings = resolve(file, table="range_test", options={"params": {"batch_size": "64"}})

    assert settings.params == {"batch_size": "64", "width-x": 8}


def test_keys_may_have_hyphens_or_underscores(tmp_path: Path) -> None:
    file = read_settings_file(write(tmp_path / "x.toml", "[range_test]\nnum_steps = 50\n"))

    assert resolve(file, table="range_test", options={}).range_test.num_steps == 50


def test_the_nearest_file_from_the_folder_up_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "lrtool.toml", "seed = 1\n")
    write(tmp_path / "a" / "pyproject.toml", "[tool.lrtool]\nseed = 2\n")
    write(tmp_path / "a" / "b" / "pyproject.toml", "[tool.other]\nseed = 3\n")

    assert find_settings_file(tmp_path / "a" / "b").values["seed"] == 2
    assert find_settings_file(tmp_path).values["seed"] == 1


def test_a_target_file_is_looked_for_beside_the_settings(tmp_path: Path) -> None:
    file = read_settings_file(write(tmp_path / "sub" / "lrtool.toml", 'target = "model.py:make"\n'))

    assert file.values["target"] == str(tmp_path / "sub" / "model.py:make")


def test_an_unknown_key_is_told_with_its_nearest_spelling(tmp_path: Path) -> None:
    error = refused(tmp_path / "x.toml", "[range-test]\nnum-step = 5\n")

    assert "x.toml: range-test.num-step: no such setting" in error.message
    assert error.hint == "did you mean 'num-steps'?"


def test_an_unknown_table_is_told_too(tmp_path: Path) -> None:
    assert "'range-test'" in refused(tmp_path / "x.toml", "[range-tests]\nnum-steps = 5\n").hint


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('num-steps = "many"', "range-test.num-steps"),
        ('num-steps = "100"', "range-test.num-steps"),
        ("num-steps = true", "range-test.num-steps"),
        ("num-steps = 2.5", "range-test.num-steps"),
        ("num-steps = 11", "range-test.num-steps"),
        ("start-lr = nan", "range-test.start-lr"),
        ("start-lr = -1.0", "range-test.start-lr"),
        ("mode = 'log'", "range-test.mode"),
    ],
)
def test_a_wrong_value_is_told_with_file_and_key(tmp_path: Path, line: str, place: str) -> None:
    error = refused(tmp_path / "x.toml", f"[range-test]\n{line}\n")

    assert f"x.toml: {place}: " in error.message
    assert error.hint.startswith("the default is ")


def test_start_must_be_below_end(tmp_path: Path) -> None:
    assert "start-lr 1 is not below end-lr 0.5" in refused(
        tmp_path / "x.toml", "[range-test]\nstart-lr = 1\nend-lr = 0.5\n"
    ).message  # fmt: skip


def test_a_wrong_option_is_told_as_the_option() -> None:
    with pytest.raises(UsageError, match="--num-steps: 11 should be"):
        resolve(SettingsFile(), table="range_test", options={"num_steps": 11})


@pytest.mark.parametrize("text", ["seed = ", "[range-test", "seed = 1\nseed = 2", "\x00"])
def test_broken_toml_is_an_error_with_the_file_name(tmp_path: Path, text: str) -> None:
    assert "x.toml is not valid TOML" in refused(tmp_path / "x.toml", text).message


def test_a_missing_file_or_a_directory_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError):
            read_settings_file(path)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"seed = '\xff'")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_settings_file(path)


def test_a_misspelt_environment_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRTOOL_NUM_STEP", "5")
    with pytest.raises(UsageError) as caught:
        check_environment({"LRTOOL_NUM_STEPS", "LRTOOL_SEED"})
    assert "LRTOOL_NUM_STEPS" in caught.value.hint


def test_every_field_of_a_table_is_an_option() -> None:
    named = {table: [field.name for field, _ in options_of(kind)] for table, kind in TABLES.items()}

    assert named == {table: [field.name for field in fields(kind)] for table, kind in TABLES.items()}


@pytest.mark.parametrize("name", ["smoke", "digits-band", "char-transformer"])
def test_the_settings_that_come_with_the_project_are_valid(name: str) -> None:
    file = ROOT / "configs" / f"{name}.toml"

    assert resolve(read_settings_file(file), table="range_test", options={}).target
