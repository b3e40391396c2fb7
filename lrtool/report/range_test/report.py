"""A range test's report: its plots, and the CSVs they show."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from lrtool.report.parts import frame_csv
from lrtool.report.range_test.batch_scaling import draw_scaling
from lrtool.report.range_test.group_tests import draw_groups
from lrtool.report.range_test.optimizer_tests import draw_optimizers
from lrtool.report.range_test.page import range_test_page
from lrtool.report.range_test.plots import draw_curve
from lrtool.report.range_test.tables import range_test_lines
from lrtool.report.report import Report
from lrtool.results import BatchSizeTest, RangeTest, RulePick

DESCRIPTIONS = {
    "curve": "Training loss over the learning rate, which is on a log scale: raw and smoothed. The suggested range is "
    "shaded, its ends are marked by a triangle and a square, the constant LR by a diamond.",
    "groups": "Training loss over the learning rate of one parameter group at a time, a panel for each, the others held at 0. "
    "A dotted line marks where half of the descent is done; the range found when all were ramped together is shaded.",
    "optimizers": "The loss of one of several optimizers over its learning rate, a panel for each, the others at their "
    "own LR; the suggested range is shaded.",
    "scaling": "max_lr over the batch size, both on a log scale: a circle for each test, a square for the mean of each size, "
    "a line for the law measured, and dashed lines for linear and square-root scaling.",
}


def plots(_: Path, result: RangeTest) -> dict[str, Figure]:
    """The plots by name: the curve, and where they were measured the groups alone and the batch sizes."""
    figures = {"curve": draw_curve(result)}
    if result.group_tests:
        figures["groups"] = draw_groups(result)
    if result.optimizer_tests:
        figures["optimizers"] = draw_optimizers(result)
    if result.batch_scaling is not None and result.batch_scaling.tests:
        figures["scaling"] = draw_scaling(result.batch_scaling)
    return figures


def csvs(result: RangeTest) -> dict[str, str]:
    """The CSVs by name: one for each plot, and one for other finders' rules."""
    tables = {"curve": curve_csv(result)}
    if result.group_tests:
        tables["groups"] = groups_csv(result)
    if result.optimizer_tests:
        tables["optimizers"] = optimizers_csv(result)
    if result.batch_scaling is not None:
        tables["scaling"] = _records_csv(result.batch_scaling.tests)
    if result.rules:
        tables["rules"] = _records_csv(result.rules)
    return tables


def curve_csv(result: RangeTest) -> str:
    """The curve, one row a step, losses in full precision; with repeats, a column of raw losses for each."""
    import pandas as pd

    columns = {"lr": result.curve.lr, "loss": result.curve.loss, "smoothed_loss": result.curve.smoothed_loss}
    table = pd.DataFrame(columns, index=pd.RangeIndex(1, len(result.curve.lr) + 1, name="step"))
    for number, repeat in enumerate(result.repeats, 1):
        table = table.join(
            pd.Series(repeat.loss, index=pd.RangeIndex(1, len(repeat.loss) + 1), name=f"loss_{number}"), how="outer"
        )
    return frame_csv(table, index_label="step")


def groups_csv(result: RangeTest) -> str:
    """The curve of each group alone, one row a step."""
    import pandas as pd

    tables = [pd.DataFrame({"group": number, **asdict(test.curve)}) for number, test in enumerate(result.group_tests)]
    return frame_csv(pd.concat(tables), index=False)


def optimizers_csv(result: RangeTest) -> str:
    """The curve of each optimizer, one row a step."""
    import pandas as pd

    tables = [pd.DataFrame({"optimizer": test.name, **asdict(test.curve)}) for test in result.optimizer_tests]
    return frame_csv(pd.concat(tables), index=False)


def _records_csv(records: Sequence[BatchSizeTest | RulePick]) -> str:
    """A line for each record, a column for each of its fields."""
    import pandas as pd

    return frame_csv(pd.DataFrame([asdict(record) for record in records]), index=False)


REPORT = Report(
    lines=range_test_lines, page=range_test_page, plots=plots, csvs=csvs, main_plot="curve", descriptions=DESCRIPTIONS
)
