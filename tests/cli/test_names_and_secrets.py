"""Names that are no text, that break lines or steer what shows them, and values that nobody else may see."""

import json
import os
import stat
from pathlib import Path

import pytest

from lrtool.results.stored.csv_table import csv_text
from lrtool.results.stored.run_dir import open_run
from lrtool.results.stored.secrets import MASK, masked, masked_arguments
from lrtool.results.stored.texts import spell, unspell
from lrtool.units import one_line
from tests.conftest import Lrtool

MODEL = """
import torch
from torch import nn

def build(token="", name=""):
    assert token in ("", "s3cret", "0ther"), token
    model = nn.Linear(4, 1)
    data = [(torch.ones(2, 4), torch.ones(2, 1)) for _ in range(4)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": model, "optimizer": optimizer, "train_loader": data, "loss": loss}

def loss(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])
"""
NAMES = [os.fsdecode(b"caf\xe9 line\nbreak bell\x07\x1b[31m\xe2\x80\xae"), "=1+1 \\udcff"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_name_runs_is_stored_read_back_and_shown(name: str, lrtool: Lrtool) -> None:
    Path(f"{name}.py").write_text(MODEL)
    runs = f"{name} runs"
    ramp = lrtool("range-test", f"{name}.py", "--num-steps", "20", "--out", runs, "--json")
    options = ["--recorder", "predicted", "--step-sizes", "2", "--param", f"name=::error::{name}", "--out", runs]
    sweep = lrtool("mem-sweep", f"{name}.py", *options)
    again = lrtool("mem-sweep", "--resume", "2", "--out", runs, "--json")
    page, shown = lrtool("report", "2", "--out", runs, "--html"), lrtool("report", "2", "--out", runs)
    base = lrtool("baseline", "2", "--out", runs, "-o", f"{name}.json")
    held = lrtool("check", "2", "--baseline", f"{name}.json", "--out", runs, "--format", "github")
    both = lrtool("compare", "2", "2", "--out", runs)

    for outcome in (ramp, sweep, again, page, shown, base, held, both):
        assert outcome.code == 0, outcome.err
        for line in (outcome.out + outcome.err).splitlines():
            assert line.isprintable()
            assert not line.strip().startswith("::")
    for number in ("1", "2", "3"):
        open_run(number, parent=Path(runs))
    run_dir, run = open_run("2", parent=Path(runs))
    assert run.result.target == f"{name}.py"  # type: ignore[union-attr]
    assert again.json["trials"][0]["params"] == {"name": f"::error::{spell(name)}"}
    assert ramp.json["run_dir"] == spell(f"{runs}/0001-range-test")
    assert one_line(name) in page.out.replace("\n", "") + (run_dir / "trials.csv").read_text()
    assert (run_dir / "report.html").read_text()


@pytest.mark.parametrize("text", [*NAMES, "\ud800", "\\u005c", "\\\\udcff", "\\u005cudcff\udcff", "plain"], ids=ascii)
def test_a_spelt_text_is_found_again(text: str) -> None:
    assert unspell(spell(text)) == text
    spell(text).encode()


def test_no_cell_is_a_formula() -> None:
    cells = ["=1+1", "+a", "-a", "@a", "\t=1", "-1.5", -1.5, "a=b", "\r=1", " =1", None, "a\nb"]

    text = csv_text(["=name"], ([cell] for cell in cells))

    assert text.splitlines() == ["'=name", "'=1+1", "'+a", "'-a", "'@a", "'\\t=1", "-1.5", "-1.5", "a=b", "'\\x0d=1",
                                 "' =1", '""', "a\\nb"]  # fmt: skip


def test_a_long_exception_is_cut(lrtool: Lrtool) -> None:
    Path("long.py").write_text("def build():\n    raise ValueError('x' * 10**6)\n")

    outcome = lrtool("range-test", "long.py")

    assert outcome.code == 3
    assert len(outcome.err) < 5000
    assert "xxx...\n" in outcome.err


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("token", "s3cret", True), ("hf_token", "x", True), ("API_KEY", "x", True), ("apiKey", "x", True),
        ("password", "x", True), ("db_passwd", "x", True), ("aws_secret", "x", True), ("access_key", "x", True),
        ("private-key", "x", True), ("credentials", "x", True), ("auth", "x", True), ("auth_header", "x", True),
        ("token", 12345, True), ("max_tokens", "4096", False), ("max_tokens", 4096, False), ("tokenizer", "gpt2", False),
        ("author", "me", False), ("lr", "0.1", False), ("batch_size", 8, False),
        ("x", "hf_abcdefghijKLMNOPqrst1234", True), ("x", "sk-abcdefgh12345678", True), ("x", "ghp_abcdEFGH12345678", True),
        ("x", "AKIAIOSFODNN7EXAMPLE", True), ("x", "0123456789abcdef0123456789abcdef01234567", True),
        ("x", "https://me:pass@host/x", True), ("x", "https://host/x", False), ("x", "hf_model", False),
    ],
)  # fmt: skip
def test_what_is_masked(name: str, value: object, *, is_secret: bool) -> None:
    found = masked({name: value})[name]

    assert (MASK in str(found)) is is_secret
    assert is_secret or found == value
    assert (MASK in "".join(masked_arguments(["--param", f"{name}={value}"]))) is is_secret


def test_a_secret_reaches_the_trials_and_nobody_else(lrtool: Lrtool, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("model.py").write_text(MODEL)
    options = ["--param", "token=s3cret,0ther", "--recorder", "predicted", "--step-sizes", "2"]
    monkeypatch.setattr("sys.argv", ["lrtool", "mem-sweep", "model.py", *options])
    swept = lrtool("mem-sweep", "model.py", *options)
    again = lrtool("mem-sweep", "--resume", "last", "--json")
    page = lrtool("report", "last", "--html")
    alone = lrtool("range-test", "model.py", "--param", "token=s3cret", "--num-steps", "20", "-v")

    assert [each.code for each in (swept, again, page, alone)] == [0, 0, 0, 0], swept.err + again.err + alone.err
    assert [trial["params"] for trial in again.json["trials"]] == [{"token": MASK}, {"token": f"{MASK} (2)"}]
    for outcome in (swept, again, page, alone):
        assert "s3cret" not in outcome.out + outcome.err
    for path in (path for path in Path("runs").rglob("*") if path.is_file()):
        if path.name in ("plan.json", "trial.json"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        else:
            assert b"s3cret" not in path.read_bytes(), path
    assert "s3cret" in json.dumps(json.loads(Path("runs/0001-mem-sweep/plan.json").read_bytes())["trials"])
