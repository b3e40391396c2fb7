"""Wrong input ends in two lines, `error:` and `hint:`, and its documented exit code; never in a traceback of ours."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import DOCS
from tests.conftest import Lrtool, Outcome
from tests.processes import start

WorkloadFile = Callable[[str], Path]


def check_told(outcome: Outcome, code: int, message: str) -> None:
    """Both lines there, the right code, nothing on stdout, and no frame of lrtool's."""
    lines = outcome.err.splitlines()
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert [line.partition(" ")[0] for line in lines[-2:]] == ["error:", "hint:"], outcome.err
    assert message in lines[-2]
    assert lines[-1] != "hint: "
    assert "Traceback" not in outcome.err
    assert "lrtool/lr/" not in outcome.err
    assert "site-packages" not in outcome.err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("import_error", 3, "import_error.py raised ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("syntax_error", 3, "syntax_error.py raised SyntaxError"),
        ("no_build", 2, "no_build.py has no 'build'"),
        ("required_argument", 2, "build() requires the argument 'width'"),
        ("wrong_key", 3, "unknown key 'optimiser'"),
        ("not_a_dict", 3, "build() returned an object (list)"),
        ("bare_module", 3, "an optimizer, a train_loader and a loss are missing"),
        ("frozen", 3, "the optimizer has no trainable parameters"),
        ("empty_optimizer", 3, "optimizer got an empty parameter list"),
        ("vector_loss", 3, "the loss is not a scalar"),
        ("detached_loss", 3, "the loss has no gradient"),
        ("number_loss", 3, "the loss is a float, not a tensor"),
        ("nan", 3, "the loss is nan at step 1"),
        ("empty_loader", 3, "train_loader is empty"),
        ("one_batch", 3, "train_loader has a single batch"),
        ("exits", 3, "build() called sys.exit(7)"),
        ("exits_at_import", 3, "called sys.exit('done')"),
        ("oom", 3, "the training step raised RuntimeError"),
    ],
)
def test_a_user_file_that_cannot_be_measured(
    lrtool: Lrtool, workload_file: WorkloadFile, name: str, code: int, message: str
) -> None:
    check_told(lrtool("range-test", workload_file(name)), code, message)
    assert not list(Path("runs").glob("*")), "an empty run directory was left behind"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.py"], 2, "there is no file none.py"),
        (["."], 2, "is a directory"),
        (["digit"], 2, "'digit' is neither a file, nor a module, nor a bundled workload"),
        (["a b:c d"], 2, "is neither"),
        ([""], 2, "is neither"),
        (["digits", "more"], 2, "unexpected extra argument"),
        (["--device", "cuda:99"], 4, "device cuda:99 was asked for"),
        (["--device", "tpu-of-mine"], 2, "unknown device"),
        (["--num-steps", "0"], 2, "--num-steps: 0 should be greater"),
        (["--num-steps", "-1"], 2, "--num-steps: -1 should be greater"),
        (["--num-steps", "11"], 2, "--num-steps: 11 should be greater than or equal to 12"),
        (["--num-steps", "2000000000000"], 2, "--num-steps: 2000000000000 should be less"),
        (["--num-steps", "many"], 2, "--num-steps: 'many' should be a valid integer"),
        (["--start-lr", "10"], 2, "start-lr 10 is not below end-lr 10"),
        (["--start-lr", "0"], 2, "--start-lr: 0.0 should be greater"),
        (["--start-lr", "-1e-3"], 2, "--start-lr: -0.001 should be greater"),
        (["--start-lr", "nan"], 2, "--start-lr: nan should be a finite number"),
        (["--end-lr", "inf"], 2, "--end-lr: inf should be a finite number"),
        (["--mode", "log"], 2, "--mode: 'log' should be 'exp' or 'linear'"),
        (["--repeats", "0"], 2, "--repeats: 0 should be"),
        (["--seed", "-1"], 2, "--seed: -1 should be"),
        (["--color", "red"], 2, "--color 'red'"),
        (["--config", "none.toml"], 2, "settings file none.toml does not exist"),
        (["--param", "batch_size"], 2, "is not NAME=VALUE"),
        (["--param", "batchsize=3"], 2, "build() has no argument 'batchsize'"),
        (["--param", "batch_size=0"], 3, "build() raised ValueError"),
        (["--num-step", "5"], 2, "no such option: --num-step"),
        (["--param"], 2, "requires an argument"),
    ],
)
def test_an_argument_that_is_wrong(lrtool: Lrtool, arguments: list[str], code: int, message: str) -> None:
    check_told(lrtool("range-test", *arguments), code, message)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["mem-sweep", "--capacity", "24"], "24GiB"),
        (["mem-sweep", "--capacity", "4090"], "rtx4090"),
        (["diagnose", "--capacity", "24576"], "24576MiB"),
        (["replay", "no-trace.jsonl", "--capacity", "24"], "24GiB"),
        (["mem-sweep", "--trial-memory", "8"], "8GiB"),
        (["diagnose", "--trial-memory", "8"], "8GiB"),
        (["check", "--max", "peak_allocated=24"], "peak_allocated=24GiB"),
        (["check", "--max-increase", "peak_allocated:200"], "peak_allocated:200MiB"),
    ],
)
def test_a_bare_number_that_is_no_memory(lrtool: Lrtool, arguments: list[str], hint: str) -> None:
    outcome = lrtool(*arguments)

    check_told(outcome, 2, "too little")
    assert hint in outcome.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("[mem-sweep]\ncapacity = 24", 'capacity = "24GiB"'),
        ("[replay]\ncapacity = [4090]", '"rtx4090"'),
        ("[diagnose]\ntrial-memory = 8", 'trial-memory = "8GiB"'),
        ("[mem-sweep]\ntrial-memory = '8'", "8GiB"),
        ("[budget.max]\npeak_allocated = 24", "peak_allocated=24GiB"),
        ("[budget.max-increase]\npeak_reserved = '200'", "peak_reserved:200MiB"),
    ],
)
def test_a_bare_number_that_is_no_memory_in_a_settings_file(lrtool: Lrtool, table: str, hint: str) -> None:
    Path("lrtool.toml").write_text(f"{table}\n")
    outcome = lrtool("range-test")

    check_told(outcome, 2, "")
    assert hint in outcome.err.splitlines()[-1]


def test_powers_of_ten_are_told_once_beside_the_result(lrtool: Lrtool) -> None:
    trace = DOCS / "split.jsonl"
    outcome = lrtool("replay", trace, "--capacity", "24GB", "--capacity", "24GB", "--json")

    assert outcome.code == 0
    assert outcome.err.count("24 GB = 22.4 GiB; for a 24 GB card say rtx4090 or 24GiB") == 1
    assert lrtool("replay", trace, "--capacity", "24GiB").err.count(" GB = ") == 0


def test_an_unknown_command_gets_the_nearest_one(lrtool: Lrtool) -> None:
    outcome = lrtool("range-tset")

    check_told(outcome, 2, "no such command 'range-tset'")
    assert "range-test" in outcome.err.splitlines()[-1]


def test_a_config_with_an_unknown_key(lrtool: Lrtool) -> None:
    Path("x.toml").write_text("[range-test]\nnum_step = 3\n")

    check_told(lrtool("range-test", "--config", "x.toml"), 2, "x.toml: range-test.num-step: no such setting")


def test_a_config_with_a_wrong_type(lrtool: Lrtool) -> None:
    Path("lrtool.toml").write_text('[range-test]\nnum-steps = "many"\n')

    check_told(lrtool("range-test"), 2, "range-test.num-steps: 'many' should be a valid integer")


def test_a_misspelt_environment_variable(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRTOOL_SEEDS", "3")

    check_told(lrtool("range-test"), 2, "unknown environment variable LRTOOL_SEEDS")


def test_an_environment_variable_with_a_wrong_value_is_told_like_its_option(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRTOOL_NUM_STEPS", "1")

    check_told(lrtool("range-test"), 2, "--num-steps: 1 should be")


def test_the_users_own_frames_are_shown_and_no_others(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    err = lrtool("range-test", workload_file("raises_midway")).err

    assert 'raises_midway.py", line' in err
    assert "in fails" in err
    assert "lrtool/lr/measure.py" not in err


def test_vv_shows_the_whole_traceback(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    err = lrtool("range-test", workload_file("raises_midway"), "-vv").err

    assert "Traceback (most recent call last)" in err
    assert "lrtool/lr/measure.py" in err


def test_an_output_folder_that_is_a_file(lrtool: Lrtool) -> None:
    Path("taken").write_text("here first")

    check_told(lrtool("range-test", "--out", "taken"), 4, "cannot write taken: ")
    assert Path("taken").read_text() == "here first"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_permission(lrtool: Lrtool, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)

    check_told(lrtool("range-test", "--out", "locked"), 4, "cannot write locked: permission denied")


def files_of_2000_bytes() -> None:
    """A limit on the size of files fails writes as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", LONG], ["report", "--out", LONG], ["init", LONG], ["range-test", LONG], ["range-test", f"{LONG}.py"],
        ["diagnose", LONG], ["mem-sweep", "--resume", LONG], ["check", "--max", "growth=0", "--baseline", LONG],
        ["baseline", "-o", LONG], ["replay", "x.jsonl", "--per-op", LONG], ["check", "--format", "junit", "-o", LONG],
        ["report", "9" * 5000],
    ],
)  # fmt: skip
def test_a_name_that_no_file_can_have(lrtool: Lrtool, arguments: list[str]) -> None:
    check_told(lrtool(*arguments), 2, "error: file name too long: ")


@pytest.mark.parametrize("command", [["report"], ["diagnose"], ["range-test"], ["mem-sweep", "--resume"], ["init"]])
def test_a_folder_that_nobody_may_look_into(
    lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    stat = Path.stat

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if "secret" in path.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)
    outcome = lrtool(*command, "secret/folder")
    monkeypatch.undo()

    check_told(outcome, 2, "error: permission denied: secret/folder")


def test_a_full_disk_costs_the_files_but_not_the_result() -> None:
    run = start("range-test", "--num-steps", "40", file=Path("shown"), first=files_of_2000_bytes)

    assert run.wait() == 4
    assert run.out.splitlines()[0].startswith(("Cycle the learning rate", "No suggestion"))
    assert run.out.splitlines()[-1] == "Nothing was written."
    assert "error: cannot write runs/0001-range-test/run.json: file too large" in run.err
    assert "Traceback" not in run.err
    assert not list(Path("runs").rglob("*.tmp"))


@pytest.mark.painted
def test_ctrl_c_in_the_middle_keeps_the_points(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("interrupts"), "--json")

    assert outcome.code == 130
    assert outcome.err.splitlines()[-2].startswith("error: interrupted after ")
    assert "points are kept: lrtool report runs/0001-range-test" in outcome.err.splitlines()[-1]
    assert outcome.json["stopped"] == "interrupted"
    assert outcome.json["num_steps"] == len(outcome.json["curve"]["loss"]) >= 29
    assert lrtool("report", "1", "--json").json["curve"] == outcome.json["curve"]


@pytest.mark.parametrize("command", ["range-test", "mem-sweep"])
def test_ctrl_c_before_anything_was_measured(lrtool: Lrtool, tmp_path: Path, command: str) -> None:
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")

    check_told(lrtool(command, "slow.py"), 130, "interrupted")


def test_ctrl_c_from_outside_ends_with_130(tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\nfrom lrtool.examples.digits import build as digits\n\n\ndef build():\n    setup = digits()\n"
        "    loss = setup['loss']\n    print('started', flush=True)\n"
        "    return setup | {'loss': lambda m, b: (time.sleep(0.05), loss(m, b))[1]}\n"
    )
    run = start("range-test", slow, file=tmp_path / "shown")
    while "started" not in run.err:
        assert run.process.is_alive()
        time.sleep(0.02)
    time.sleep(0.5)
    run.signal(signal.SIGINT)

    assert run.wait(60) == 130
    assert "error: interrupted after " in run.err
    assert "Traceback" not in run.err
    assert (tmp_path / "runs" / "0001-range-test" / "run.json").exists()


def test_an_error_in_the_middle_keeps_the_points(lrtool: Lrtool, workload_file: WorkloadFile) -> None:
    outcome = lrtool("range-test", workload_file("raises_midway"), "--json")

    assert outcome.code == 3
    assert "error: the training step raised ValueError: the thirtieth batch is bad" in outcome.err
    assert "29 points are kept: lrtool report runs/0001-range-test" in outcome.err
    assert outcome.json["stopped"] == "failed"
    assert outcome.json["num_steps"] == 29


def test_a_user_file_that_prints_leaves_stdout_to_the_result(workload_file: WorkloadFile) -> None:
    command = [
        sys.executable,
        "-m",
        "lrtool",
        "range-test",
        str(workload_file("prints")),
        "--num-steps",
        "20",
        "--json",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert run.returncode == 0
    assert json.loads(run.stdout)["command"] == "range-test"
    for words in ("at import", "in build", "past Python", "from a child", "in loss", "at exit"):
        assert words in run.stderr


def test_a_user_file_that_closes_stdout_does_not_stop_the_result(workload_file: WorkloadFile) -> None:
    run = start("range-test", workload_file("closes_stdout"), "--num-steps", "20", file=Path("shown"))

    assert run.wait() == 0
    assert "Wrote runs/0001-range-test/curve.png" in run.out


def test_a_closed_pipe_is_no_error() -> None:
    run = subprocess.run(
        f"{sys.executable} -m lrtool range-test --num-steps 20 | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr


@pytest.mark.parametrize("option", ["--mode", "--rules", "--device"])
def test_text_that_cannot_be_encoded_is_no_defect(lrtool: Lrtool, option: str) -> None:
    check_told(lrtool("range-test", option, "\ud800"), 2, "'\\ud800'")


def test_a_defect_of_ours_is_told_as_one(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("inside lrtool")

    monkeypatch.setattr("lrtool.cli.invocation.resolve", broken)

    check_told(lrtool("range-test"), 70, "lrtool itself failed: ZeroDivisionError: inside lrtool")
