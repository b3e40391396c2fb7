"""What stands for a value of an option: valid, nearly valid, and hostile. Nothing is harmed by a write to any path here."""

from collections.abc import Mapping

NUMBERS = (
    "0", "1", "2", "3", "-1", "12", "24", "99", "1000000", "1000001", "9" * 25, "9" * 5000, "0x10", "1_000", "1e3", "1e400",
    "-1e400", "1e-400", "nan", "inf", "-inf", "0.5", ".5", "5.", "+1", " 1", "\u0663", "\u00b2", "1,2", "1,,2", ",", "2,a",
    "1e-7", "NaN", ",".join(map(str, range(300))),
)  # fmt: skip
SIZES = (
    "24", "24GB", "24GiB", "24 GiB", "0", "-1GiB", "1e400MiB", "1e99MiB", "64MiB", "1.5g", "1,5GiB", "GiB", "5%", "-5%",
    "nan%", "1e400%", "h100", "rtx4090", "RTX 4090", "h1000", "999999999TiB", "1" + "0" * 70,
)  # fmt: skip
LIMITS = (
    "peak_allocated=14GiB", "peak_allocated=1B", "growth=0", "growth=-1", "max_lr=nan", "max_lr=0.01", "best_loss=inf", "=",
    "=1", "growth=", "growth==1", "nope=1", "peak_allocated:5%", "peak_allocated:1e400%", "fragmentation=10%", "max_lr=0",
    "retries=1e999", "growth=9e99GiB", "\x1b[31m=1", "best_loss=1e400", "5%", "14GiB", "peak_allocated=" + "9" * 400,
)  # fmt: skip
PAIRS = (
    "a=b=c", "width=3", "width=x", "batch_size=0", "batch_size=1e400", "=x", "x", "name=\x1b[31m\n", "name=", "seed=1",
    "1=2", "width=[1,2]", "name=(1,", "name='a,b',c", "deep=maybe", "deep=yes", "scale=nan", "token=s3cret", "self=1",
    "name=" + "x" * 3000, "name={'a': 1}", "name=" + "(" * 300, "name=__import__('os')", "class=1", "\u00e9=1",
    "width=" + "9" * 5000, "anything=" + "(" * 300, "anything=" + "-" * 5000 + "1", "width=1e400",
)  # fmt: skip
CONFS = (
    "expandable_segments:True", "max_split_size_mb:21", "max_split_size_mb:1", "max_split_size_mb:", "x:1", ":", ",,,",
    "a:b:c", "garbage_collection_threshold:2", "roundup_power2_divisions:[1:4,>:2]", "roundup_power2_divisions:[",
    "backend:cudaMallocAsync", "max_split_size_mb:" + "9" * 30, "\x1b[31m:1", "garbage_collection_threshold:nan",
    "max_split_size_mb:\u0663", "roundup_power2_divisions:\u00b2", "per_process_memory_fraction:1e400",
)  # fmt: skip
PATHS = (
    "", ".", "..", "-", "--", "~", "out", "new/deep/er", "pipe", "pi.pe.py", "nothing.here", "there_is_none.py", "a" * 300,
    "/dev/null", "/dev/full", "/dev/zero", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/99",
    "/dev/null/x", "/proc/self/mem", "/proc/nonexistent/x", "runs", "runs/0099-none", "good.py:build", "good.py:", "x.py\n",
    "good.py:no", ":build", "sys:exit", "json:loads", "no.such.module:build", "..mod:build", "a\x00b", "\x1b[31m.json",
    "caf\u00e9 \u202e\n.py", "x\udcff.py", "lrtool.toml/x", "@file", "out.jsonl", "out.json", "out.xml", "report.html",
    "con.py", "importlib:import_module", " ", "\n", "a" * 5000, "new/" * 2000, "\ud800.py", "builtins:dict", "good.py/x.py",
)  # fmt: skip
HOSTILE = (
    *NUMBERS[:12], *SIZES[:6], "", "-", "--", "@file", "@", "--json", "-h", "--help", "-vv", "--version", "\x00", "a\nb", "%s",
    "\x1b]0;x\x07", "\u202e\u2028", "\ud800", "\udcff", "x" * 100_000, "{0}", "[red]x[/red]", "[/]", "::error::x", "*",
    "##[error]x", "<b>", "';--", "$HOME", "\\", "'", '"', "a,b,c", ",,", "a=b=c", "true", "None", "null", "\ufeff1",
    "\U0001f4a9", "e\u0301", "[", "[tool.lrtool]", "\\[x]",
)  # fmt: skip
RUN_NAMES = (*"123456", "last", "0001", "99", "-1", "\u0663", "\u00b2", "9" * 5000, "last ", "LAST", "runs/last")
POOLS: Mapping[str, tuple[str, ...]] = {
    "--param": PAIRS, "--settings": CONFS, "--capacity": SIZES, "--trial-memory": SIZES, "--gpu": SIZES, "--max": LIMITS,
    "--min": LIMITS, "--max-increase": LIMITS, "--resume": RUN_NAMES, "--baseline": RUN_NAMES,
}  # fmt: skip
"""The values of options whose kind their declaration does not tell."""
