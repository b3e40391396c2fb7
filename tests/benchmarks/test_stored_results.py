"""Results of a benchmark outlive its end at any moment."""

from pathlib import Path

from benchmarks.stored_results import add_result, read_results


def test_results_are_read_by_key_and_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    for key, value in (("a", 1), ("b", 2), ("a", 3)):
        add_result(path, {"key": key, "value": value})

    assert {key: each["value"] for key, each in read_results(path).items()} == {"a": 3, "b": 2}


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"key": "a"}\n{"key": "b", "val')
    add_result(path, {"key": "c"})

    assert set(read_results(path)) == {"a", "c"}


def test_without_a_file_nothing_is_kept() -> None:
    add_result(None, {"key": "a"})

    assert read_results(None) == {}
