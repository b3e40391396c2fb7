"""Cures and the largest batch as lines and tables: what helps most first, how to apply it, and why the rest does not."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from rich.console import RenderableType
from rich.text import Text

from lrtool.report.grid import Column, Facts, Grid, Row, labelled, numbers
from lrtool.report.parts import known_bytes
from lrtool.results import CureEffect, CureFigures, Cures, MaxBatch, Recorder, is_measured
from lrtool.results.stored.csv_table import csv_text
from lrtool.units import count_of, format_bytes

_KNOWN: dict[Recorder, str] = {"cuda": "measured on the GPU", "predicted": "predicted", "cpu": "of a real CPU run"}
_FIGURES = tuple(field.name for field in fields(CureFigures))
MAX_PATCHES = 4
UNPRESSURED = "Peaks are unpressured: a size may fit with less, by giving cached memory back."
REASONS = "Without a figure, and why"


def cure_lines(cures: Cures) -> list[RenderableType]:
    """Everything there is to say about cures."""
    parts: list[RenderableType] = [
        Text(cure_answer(cures), style="bold"),
        "",
        effect_table(cures),
        "",
        legend_table(cures),
    ]
    for heading, lines in patches_of(cures):
        parts += ["", Text(heading, style="bold"), *(Text(f"    {line}", style="green") for line in lines)]
    reasons = reason_table(cures)
    return parts if reasons is None else [*parts, "", Text(REASONS, style="bold"), reasons]


def cure_answer(cures: Cures) -> str:
    """The cures in one sentence: the best single one that fits, else the best together, else what saves most."""
    helping = [effect for effect in cures.effects if effect.outcome == "helps"]
    together = cures.together if cures.together is not None and cures.together.outcome == "helps" else None
    if not helping:
        return "No cure that was tried uses less memory here."
    room = f" {format_bytes(cures.capacity_bytes)}" if cures.capacity_bytes is not None else ""
    fitting = [effect for effect in helping if effect.figures is not None and effect.figures.fits]
    if cures.baseline.fits is False and fitting:
        return f"Fits{room} with {fitting[0].title}{_saving(fitting[0], cures)}."
    if cures.baseline.fits is False and together is not None and together.figures and together.figures.fits:
        return f"Fits{room} with {together.title}{_saving(together, cures)}."
    if cures.baseline.fits is False:
        best = together or helping[0]
        return f"Nothing tried fits{room}; {best.title} comes nearest{_saving(best, cures)}."
    best = max([*helping, *([together] if together else [])], key=lambda each: each.saved_reserved_bytes or 0)
    return f"Most is saved by {best.title}{_saving(best, cures)}."


def max_batch_lines(found: MaxBatch) -> list[RenderableType]:
    """The largest batch: the answer, and every size that was tried."""
    return [Text(max_batch_answer(found), style="bold"), "", try_table(found), Text(UNPRESSURED, style="dim")]


def try_table(found: MaxBatch) -> Grid:
    """Every size that was tried, from small to large."""
    columns = (*numbers("batch size", "peak reserved"), Column(heading="fits"), Column(heading="figures"))
    rows = []
    for each in sorted(found.tries, key=lambda each: (each.batch_size, each.recorder)):
        how = "measured" if is_measured(each.recorder) else "predicted"
        peak = known_bytes(each.peak_reserved_bytes)
        rows.append(Row(cells=(f"{each.batch_size:,}", peak, _yes(each.fits), how)))
    return Grid(columns=columns, rows=tuple(rows))


def max_batch_answer(found: MaxBatch) -> str:
    """The largest batch in one sentence."""
    room = format_bytes(found.capacity_bytes)
    if found.batch_size is None:
        return f"Not even one sample at a time fits {room}."
    size = count_of(found.batch_size, "sample")
    how = {None: "predicted", True: "confirmed by running it", False: "predicted; the runs on the GPU ended otherwise"}
    if not found.is_limit_reached:
        return f"Batches of {size} fit {room}; larger ones were not tried ({how[found.is_confirmed]})."
    each = "" if found.bytes_per_sample is None else f"; a sample uses {format_bytes(round(found.bytes_per_sample))}"
    return f"The largest batch that fits {room} has {size} ({how[found.is_confirmed]}){each}."


def time_text(effect: CureEffect) -> str:
    """How much longer a step takes: measured, or by operations; "-" where nothing tells."""
    if effect.time_ratio is None:
        return "-"
    return f"{effect.time_ratio:.2f}x{' ops' if effect.time_basis == 'operations' else ''}"


def effect_table(cures: Cures) -> Grid:
    """A row for each cure that was tried, and for the best together."""
    figures = numbers("saved\nallocated", "saved\nreserved", "step\ntime", "\nloss")
    rows = [
        Row(cells=_cells(effect, effect.title), tone="plain" if effect.outcome == "helps" else "minor")
        for effect in cures.effects
        if effect.figures is not None
    ]
    together = cures.together
    if together is not None and together.figures is not None:
        rows.append(Row(cells=_cells(together, "the best together"), tone="sum"))
    return Grid(columns=(Column(heading="\ncure"), *figures, Column(heading="\nfits")), rows=tuple(rows), gap=1)


def _cells(effect: CureEffect, title: str) -> tuple[str, ...]:
    assert effect.figures is not None
    return (
        title,
        _saved(effect.saved_allocated_bytes),
        _saved(effect.saved_reserved_bytes),
        time_text(effect),
        _loss(effect.loss_difference),
        _fits(effect.figures),
    )


def legend_table(cures: Cures) -> Facts:
    """What the figures are of, and what the columns mean."""
    before = cures.baseline
    peaks = (
        f"{format_bytes(before.peak_allocated_bytes)} allocated, {format_bytes(before.peak_reserved_bytes)} reserved"
    )
    fits = {None: "", True: ", fits", False: ", does not fit"}[before.fits]
    rows = [("as it is", f"peak {peaks}{fits}; {_KNOWN[cures.recorder]}, over {count_of(cures.num_steps, 'step')}")]
    if cures.together is not None and cures.together.figures is not None:
        rows.append(("together", cures.together.title))
    if _has_operations(cures):
        rows.append(("ops", "floating-point operations of a step over those as it is, not a time by the clock"))
    if any(effect.loss_difference is not None for effect in cures.effects):
        rows.append(("loss", f"what the last step's changes by, really computed on the {cures.loss_device}"))
    return labelled(rows)


def _has_operations(cures: Cures) -> bool:
    return any(effect.time_basis == "operations" for effect in (*cures.effects, cures.together) if effect is not None)


def patches_of(cures: Cures) -> list[tuple[str, tuple[str, ...]]]:
    """What helps most, each with its note, and the lines that apply it."""
    helping = [effect for effect in cures.effects if effect.outcome == "helps"][:MAX_PATCHES]
    return [(f"{effect.title} ({effect.note})" if effect.note else effect.title, effect.how) for effect in helping]


def reason_table(cures: Cures) -> Facts | None:
    """Why the others have no figures; None where all have."""
    rows = [
        (effect.title, f"{'failed: ' * (effect.outcome == 'failed')}{effect.reason or 'it ended without a result'}")
        for effect in cures.effects
        if effect.figures is None
    ]
    return labelled(rows) if rows else None


def _saving(effect: CureEffect, cures: Cures) -> str:
    if effect.saved_reserved_bytes is None:
        return ""
    saved, peak = effect.saved_reserved_bytes, cures.baseline.peak_reserved_bytes
    if saved <= 0:
        return ""
    return f", which saves {format_bytes(saved)} of {format_bytes(peak)} reserved"


def _saved(num_bytes: int | None) -> str:
    return "-" if num_bytes is None else format_bytes(num_bytes) if num_bytes else "0"


def _loss(difference: float | None) -> str:
    if difference is None or difference == 0:
        return "-" if difference is None else "0"
    return f"{difference:+.1e}" if abs(difference) < 0.01 else f"{difference:+.3g}"


def _fits(figures: CureFigures) -> str:
    return "-" if figures.fits is None else _yes(figures.fits)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def cure_csvs(cures: Cures | None, max_batch: MaxBatch | None) -> dict[str, str]:
    """The CSVs by name, of what there is."""
    tables = {} if cures is None else {"cures": cures_csv(cures)}
    return tables if max_batch is None else {**tables, "batches": batches_csv(max_batch)}


def cures_csv(cures: Cures) -> str:
    """Every cure and the best together in full precision, one line each; bytes as integers, lines joined by semicolons."""
    rows = []
    for effect in (*cures.effects, *([cures.together] if cures.together is not None else [])):
        row = asdict(effect)
        figures, how = row.pop("figures") or {}, row.pop("how")
        rows.append({**row, **{name: figures.get(name) for name in _FIGURES}, "how": "; ".join(how)})
    return _csv(rows)


def batches_csv(found: MaxBatch) -> str:
    """Every size tried, in the order of the tries."""
    return _csv([asdict(each) for each in found.tries])


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    return csv_text(list(rows[0]) if rows else (), (row.values() for row in rows))
