"""The doctor's findings as lines: what is wrong first, then what was found, known issues, and a block to paste."""

from rich.console import RenderableType
from rich.text import Text

from lrtool.report.grid import Fact, Facts, labelled
from lrtool.results import AllocatorCheck, Doctor, Environment, Gpu, Installation, SelfTest
from lrtool.results.stored.run_dir import environment
from lrtool.units import count_of, format_bytes, format_duration

FENCE = "```"
_STYLES = {"failed": "red", "differs": "yellow"}


def doctor_lines(result: Doctor) -> list[RenderableType]:
    """All of it, in order."""
    return [
        Text(doctor_answer(result), style="bold"),
        "",
        _facts(result),
        *_traps(result),
        "",
        Text("To paste into a bug report (no host and no user name is in it):", style="dim"),
        *map(Text, [FENCE, *pasted_lines(result, environment()), FENCE]),
        "",
        "Nothing was written. Next: lrtool range-test digits",
    ]


def doctor_answer(result: Doctor) -> str:
    """One sentence: what does not work, else what works."""
    failed = [test.recorder for test in result.self_tests if test.status == "failed"]
    working = [test.recorder for test in result.self_tests if test.status in ("ok", "differs")]
    if failed:
        return f"Not everything works here: the {' and '.join(failed)} recorder failed its self-test."
    warned = " The allocator's settings are not as asked for." if result.allocator.problems else ""
    missing = [test.recorder for test in result.self_tests if test.status == "unavailable"]
    rest = f"; not {' and '.join(missing)}" if missing else ""
    return f"Ready: {' and '.join(working)} can be used here{rest}.{warned}"


def pasted_lines(result: Doctor, here: Environment) -> list[str]:
    """The findings in plain text, for strangers."""
    asked = [f"{name}={value}" for name, value in result.allocator.variables.items()] or ["nothing asked for"]
    return [
        f"lrtool {here.lrtool}, Python {here.python}, {here.platform}, {here.num_cpus} CPUs",
        *(f"{label}: {text}" for label, text in _installed(result.installation)),
        f"allocator: {', '.join(asked)}; {_in_force(result.allocator)}",
        *(f"allocator: {problem}" for problem in result.allocator.problems),
        *(f"self-test {test.recorder}: {_tested(test)}" for test in result.self_tests),
    ]


def _facts(result: Doctor) -> Facts:
    asked = [f"{name}={value}" for name, value in result.allocator.variables.items()] or ["nothing asked for"]
    return Facts(
        rows=(
            *(Fact(label=label, text=text) for label, text in _installed(result.installation)),
            Fact(label="allocator", text="; ".join([*asked, _in_force(result.allocator)])),
            *(Fact(label="", text=f"! {problem}", style="yellow") for problem in result.allocator.problems),
            *(
                Fact(label=test.recorder, text=_tested(test), style=_STYLES.get(test.status, ""))
                for test in result.self_tests
            ),
        )
    )


def _installed(installation: Installation) -> list[tuple[str, str]]:
    built = f"built for CUDA {installation.cuda}" if installation.cuda else "built without CUDA"
    cudnn = f", cuDNN {installation.cudnn}" if installation.cudnn else ""
    return [
        ("torch", f"{installation.torch}, {built}{cudnn}"),
        ("driver", installation.driver or "no NVIDIA driver found"),
        *([("GPU", _gpu(gpu)) for gpu in installation.gpus] or [("GPU", "none")]),
    ]


def _gpu(gpu: Gpu) -> str:
    free, total = format_bytes(gpu.free_bytes), format_bytes(gpu.total_bytes)
    return f"{gpu.name}, compute capability {gpu.capability}, {free} free of {total}"


def _in_force(allocator: AllocatorCheck) -> str:
    if allocator.read_from is None:
        return "what is in force cannot be read back here"
    where = "read back from the device" if allocator.read_from == "device" else "as torch reads it; no device to ask"
    return f"in force: {allocator.in_force or 'defaults'} ({where})"


def _tested(test: SelfTest) -> str:
    if test.status == "unavailable":
        return f"unavailable: {test.message}"
    allocated = "nothing" if test.allocated_bytes is None else f"{test.allocated_bytes:,} B"
    took = "" if test.duration_s is None else f", {format_duration(test.duration_s)}"
    steps = f"{count_of(test.num_steps, 'step')}, {allocated} allocated at their ends"
    if test.status == "ok":
        return f"ok: {steps}{took}"
    expected = "" if test.expected_bytes is None else f", {test.expected_bytes:,} B expected"
    return f"{test.status}: {steps}{expected}{f'; {test.message}' if test.message else ''}"


def _traps(result: Doctor) -> list[RenderableType]:
    if not result.traps:
        return []
    release = ".".join(result.installation.torch.split(".")[:2])
    issues = labelled(("-", f"{issue.title} ({issue.source}): {issue.advice}") for issue in result.traps)
    return ["", Text(f"Known issues of torch {release}"), issues]
