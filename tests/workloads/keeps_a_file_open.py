"""Never closes a file that it writes to, and which a cycle holds."""

from pathlib import Path

from good import build as good

KEPT = []


class Notes:
    def __init__(self, path):
        self.file, self.me = Path(path).open("w"), self  # noqa: SIM115
        self.file.write("built")


def build(path: str):
    KEPT.append(Notes(path))
    return good()
