"""`lrtool cards`: the table of GPUs on a terminal and as JSON."""

import subprocess
import sys
from pathlib import Path

from lrtool.memory.gpus import CARDS
from tests.conftest import Lrtool


def test_every_card_has_a_row_in_eighty_columns(lrtool: Lrtool, tmp_path: Path) -> None:
    outcome = lrtool("cards")

    lines = outcome.out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()}
    assert outcome.code == 0
    assert lines[0].startswith(f"{len(CARDS)} GPUs")
    assert all(name in rows and card.source.split()[0] in rows[name] for name, card in CARDS.items())
    assert max(map(len, lines)) <= 80
    assert list(tmp_path.iterdir()) == []


def test_json_holds_exact_bytes(lrtool: Lrtool) -> None:
    found = lrtool("cards", "--json", "--quiet").json

    cards = {card["name"]: card for card in found["cards"]}
    assert (found["schema"], found["command"], list(cards)) == (1, "cards", list(CARDS))
    assert all(cards[name]["usable_bytes"] == card.usable_bytes for name, card in CARDS.items())
    assert (cards["rtx3090"]["capability"], cards["rtx3090"]["num_multiprocessors"]) == ("8.6", 82)
    assert (cards["mi300x"]["capability"], cards["mi300x"]["num_multiprocessors"]) == (None, None)


def test_neither_form_needs_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from lrtool.cli import main; "
        "sys.exit(main(['cards', '-q']) or main(['cards', '--json']))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
