"""An environment of their own for the peers: torch first, as tested, then each peer without what it would pull in."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
PEERS = ("fastai==2.8.12", "torch-lr-finder==0.2.2", "pytorch-ignite==0.5.5")
NEEDED = (
    "lightning==2.6.6", "fastcore==2.2.39", "fastdownload==0.0.8", "fasttransform==0.0.5", "fastprogress==1.1.6",
    "plum-dispatch==2.9.0", "requests==2.34.2", "scipy==1.17.1", "scikit-learn==1.9.1", "cloudpickle==3.1.3",
)  # fmt: skip
"""What the finders of PEERS import; torchvision and spaCy, which fastai lists too, they do not."""


def enter(environment: Path) -> int | None:
    """Run this command line in `environment`, made where it is missing or out of date; None where we are in it already."""
    if Path(sys.prefix).resolve() == environment.resolve():
        return None
    python = environment / "bin" / "python"
    if _recorded(environment) != _wanted():
        _create(environment, python)
    return subprocess.run([python, *sys.argv], check=False).returncode


def _create(environment: Path, python: Path) -> None:
    print(f"setting up {environment} (once, a few minutes)", file=sys.stderr)
    venv.create(environment, with_pip=True, clear=True)
    torch = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    for arguments in ([torch], ["--editable", str(ROOT)], list(NEEDED), ["--no-deps", *PEERS]):
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), *arguments]
        subprocess.run(install, check=True)
    _stamp(environment).write_text(_wanted())


def _wanted() -> str:
    text = "\n".join([CONSTRAINTS.read_text(), *NEEDED, *PEERS])
    return hashlib.sha256(text.encode()).hexdigest()


def _recorded(environment: Path) -> str | None:
    return _stamp(environment).read_text() if _stamp(environment).exists() else None


def _stamp(environment: Path) -> Path:
    return environment / "lrtool-finders.sha256"
