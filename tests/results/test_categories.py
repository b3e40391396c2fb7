"""Categories stand in files and tables as plain text."""

import csv
import io
import json

from lrtool.results import Category


def test_a_category_is_its_text() -> None:
    line = io.StringIO()
    csv.writer(line).writerow([Category.OPTIMIZER_STATE])

    assert json.dumps({Category.INPUT: Category.OPTIMIZER_STATE}) == '{"input": "optimizer state"}'
    assert f"{Category.OPTIMIZER_STATE}" == line.getvalue().strip() == "optimizer state"


def test_a_text_finds_what_is_counted_by_category() -> None:
    by_category: dict[str, int] = {Category.GRADIENT: 3}

    assert by_category["gradient"] == {"gradient": 3}[Category.GRADIENT] == 3
