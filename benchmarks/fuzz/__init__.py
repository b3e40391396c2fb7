"""Whatever is typed, and whatever stands in a file: lrtool ends as documented. `python -m benchmarks.fuzz --help` says how."""
