"""What is left when a command is ended at any moment: `python -m benchmarks.kill_moments [--moments 30] [--only NAME]`.

Each of `mem-sweep`, `range-test` and `diagnose --cures` is ended at random moments, by SIGKILL, SIGTERM, SIGINT or SIGHUP,
sent to the command itself, to a trial's process or to the process that trials are forked from. After each: whether a process
is left after two seconds, whether what was stored can be read, and, for a sweep, whether `--resume` gives the result of an
undisturbed one.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "mem-sweep": ["mem-sweep", "{good}", "--step-sizes", "5,6,7", "--recorder", "predicted", "--order", "given"],
    "range-test": ["range-test", "{good}", "--num-steps", "400", "--device", "cpu"],
    "diagnose": ["diagnose", "{good}", "--steps", "5", "--recorder", "predicted", "--cures", "--only", "bf16,fused"],
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ORPHAN_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=COMMANDS, nargs="+", default=list(COMMANDS))
    asked = parser.parse_args()
    for name in asked.only:
        counts, troubles = ended_at_random(name, asked.moments, random.Random(asked.seed))
        print(f"{name}: {asked.moments} moments, " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
        for trouble in troubles:
            print(f"  {trouble}")


def ended_at_random(name: str, num_moments: int, draw: random.Random) -> tuple[Counter[str], list[str]]:
    """What became of each, counted, and whatever should not be."""
    counts: Counter[str] = Counter()
    troubles = []
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        start(name, Path(folder, "undisturbed")).wait()
        lasts_s = time.monotonic() - begin
        expected = result_of(Path(folder, "undisturbed"))
        for moment in range(num_moments):
            here = Path(folder, f"{moment:02}")
            number, victim = draw.choice(SIGNALS), draw.choice(("command", "child", "parent of the child"))
            process = start(name, here)
            time.sleep(draw.uniform(0.0, 1.1) * lasts_s)
            pid = chosen(process.pid, victim)
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if pid == process.pid:
                wait_or_kill(process)
            else:
                process.wait()
            time.sleep(ORPHAN_S)
            what = f"{name} {moment}: {number.name} to the {victim if pid != process.pid else 'command'}"
            troubles += [f"{what}: process {left} is left" for left in processes_in(here)]
            troubles += [f"{what}: {problem}" for problem in problems(name, here, process.returncode, expected)]
            counts[f"ended with {process.returncode}"] += 1
    return counts, troubles


def start(name: str, folder: Path) -> "subprocess.Popen[bytes]":
    """A command line in a folder of its own, which its environment names, so that what it starts can be found."""
    folder.mkdir(exist_ok=True)
    with (folder / "shown.txt").open("ab") as shown:
        return subprocess.Popen(
            [sys.executable, "-m", "lrtool", *(part.format(good=ROOT / "tests/workloads/good.py") for part in COMMANDS[name])],
            cwd=folder, stdout=shown, stderr=shown, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KILLED_IN": str(folder)},
        )  # fmt: skip


def wait_or_kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=60)
        return
    process.kill()
    process.wait()


def chosen(command: int, victim: str) -> int:
    """The process to end: the command where there is no such other one."""
    children = [pid for pid in descendants(command) if pid != command]
    if victim == "command" or not children:
        return command
    return children[-1] if victim == "child" else parent_of(children[-1]) or command


def descendants(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from descendants(int(child))


def parent_of(pid: int) -> int | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def processes_in(folder: Path) -> list[int]:
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"KILLED_IN={folder}".encode() in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parts[2]))
    return found


def problems(name: str, folder: Path, code: int | None, expected: Any) -> Iterator[str]:
    if b"Traceback" in (folder / "shown.txt").read_bytes():
        yield "a traceback"
    if code == 1:
        yield "exit code 1"
    stored = sorted(folder.glob("runs/*/trials/*/result.json"))
    before = {path: path.read_bytes() for path in stored}
    reported = run_here(["report", "last", "--json"], folder)
    if reported.returncode not in (0, 2):
        yield f"report ends with {reported.returncode}"
    if name != "mem-sweep" or not list(folder.glob("runs/*/plan.json")):
        return
    resumed = run_here(["mem-sweep", "--resume", "last"], folder)
    if resumed.returncode != 0:
        yield f"--resume ends with {resumed.returncode}: {resumed.stderr.decode()[-200:]}"
    elif result_of(folder) != expected:
        yield "--resume gives another result"
    if any(path.read_bytes() != content for path, content in before.items() if b'"status": "ok"' in content):
        yield "a finished trial was run again"


def run_here(arguments: list[str], folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "lrtool", *arguments], cwd=folder, capture_output=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def result_of(folder: Path) -> Any:
    """A run's trials without what no two runs share."""
    found = json.loads(run_here(["report", "last", "--json"], folder).stdout or b"{}")
    return [{key: value for key, value in trial.items() if key != "duration_s"} for trial in found.get("trials", ())]


if __name__ == "__main__":
    main()
