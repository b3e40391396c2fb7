"""One training run spread over several processes: who takes part, how the workload is split, and what ends it."""
