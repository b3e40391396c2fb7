"""Whatever is typed, and whatever stands in a file, lrtool ends as documented: a search for what does not.

    python -m benchmarks.fuzz [--arguments 3000] [--files 10000] [--processes 200] [--seed 0] [--only files:17]

Command lines are made by chance of every option the app declares, files are damaged by chance, and both are tried in this
process, then some of them in processes of their own. Each ends with a documented code, in two lines where it fails, without
a traceback, without control characters, and in time; what does not is printed with the name that `--only` tries again.
"""

import argparse
import time
from collections import Counter

from benchmarks.fuzz.runs import KINDS, Fuzz, prepared


def main() -> None:
    """Try as many of each as asked, and print troubles as they come and the codes at the end."""
    asked = _asked()
    with prepared() as fuzz:
        if asked.only:
            kind, _, number = asked.only.partition(":")
            _search(fuzz, kind, range(int(number), int(number) + 1), seed=asked.seed, shows_all=True)
            return
        for kind in KINDS:
            _search(fuzz, kind, range(getattr(asked, kind)), seed=asked.seed)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arguments", type=int, default=3000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="try this one alone, and show what it says")
    return parser.parse_args()


def _search(fuzz: Fuzz, kind: str, numbers: range, *, seed: int, shows_all: bool = False) -> None:
    codes: Counter[int | None] = Counter()
    num_troubles, begin = 0, time.monotonic()
    every = 50 if kind == "processes" else 500
    for number, outcome, trouble in fuzz.run(kind, numbers, seed=seed):
        codes[outcome.code] += 1
        if trouble is not None:
            num_troubles += 1
            print("\n".join(trouble.lines()), flush=True)
        if shows_all:
            print(f"code {outcome.code}\nstdout: {outcome.out[-3000:]!a}\nstderr: {outcome.err[-6000:]!r}")
        if (number + 1) % every == 0:
            print(f"{kind}: {number + 1} after {time.monotonic() - begin:.0f} s", flush=True)
    shown = ", ".join(f"{count} with {code}" for code, count in codes.most_common())
    print(f"{kind}: {len(numbers)} in {time.monotonic() - begin:.0f} s; {shown}; troubles: {num_troubles}", flush=True)


if __name__ == "__main__":
    main()
