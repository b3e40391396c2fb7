"""Tests mirror the folders of lrtool; here is where their inputs lie."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKLOADS = ROOT / "tests" / "workloads"
DATA = ROOT / "tests" / "data"
DOCS = ROOT / "docs"
