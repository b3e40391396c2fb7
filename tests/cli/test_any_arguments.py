"""Whatever is typed ends in a documented exit code, in two lines, and never in a traceback of lrtool's."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrtool.errors import EXIT_CODES, EXIT_DEFECT
from tests.cli.test_command_line import OPTIONS
from tests.conftest import Lrtool

COMMANDS = sorted(set(OPTIONS) - {"doctor"})  # which has nothing to misread, and takes seconds
NO_WORKLOAD = "there_is_none.py"
WORDS = [
    "", "0", "-1", "1", "nan", "inf", "1e400", "1e-3", "5,6", "5,,6", "24GiB", "-3MiB", "h100", "cuda:99", "cpu", "none",
    "last", "0001", "auto", "all", "expandable_segments:True", "max_split_size_mb:1", "a=b", "a=b,c", "=", "growth=0",
    "peak_allocated:5%", "github", "json", "[red]x[/]", "<script>", "\x1b[31m", "..", ".", "~", NO_WORKLOAD, "-", "--",
    "lrtool.toml", "--json", "-vv", "-h", "é\u202e", "\ud800", "9" * 400,
]  # fmt: skip
WORD = st.sampled_from(WORDS) | st.text(max_size=6).filter(lambda text: "/" not in text and "\0" not in text)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with options of its own and of others, values of the right kind and of none."""
    command = draw(st.sampled_from(COMMANDS))
    option = st.sampled_from(OPTIONS[command]) | st.sampled_from(
        sorted({o for names in OPTIONS.values() for o in names})
    )
    parts = draw(st.lists(option.filter(lambda name: name.startswith("-")) | WORD, max_size=7))
    return [draw(st.sampled_from([command, command, command, *WORDS])), *parts]


@given(command_lines())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_command_line_ends_as_documented(lrtool: Lrtool, arguments: list[str]) -> None:
    Path("lrtool.toml").write_text(f'target = "{NO_WORKLOAD}"\n')
    outcome = lrtool(*arguments)

    assert outcome.code in EXIT_CODES
    assert outcome.code != EXIT_DEFECT, outcome.err
    asked_for = sum(2 if each == "-vv" else each in ("-v", "--verbose") for each in arguments) > 1
    assert "Traceback" not in outcome.err or asked_for
    if outcome.code == 2:
        assert [line.partition(":")[0] for line in outcome.err.rstrip().splitlines()[-2:]] == ["error", "hint"]


@given(
    st.text(max_size=200)
    | st.sampled_from(WORDS).map(lambda word: f"target = {word!r}\n[range-test]\nnum_steps = {word}")
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_settings_file_ends_as_documented(lrtool: Lrtool, text: str) -> None:
    Path("other.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome = lrtool("mem-sweep", NO_WORKLOAD, "--config", "other.toml")

    assert outcome.code == 2
    assert "error:" in outcome.err
    assert "Traceback" not in outcome.err
