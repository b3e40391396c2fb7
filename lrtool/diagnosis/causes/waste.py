"""Causes that use memory which training does not need: told by what is live beyond its time. Pure."""

from lrtool.diagnosis.causes.cause import cause
from lrtool.diagnosis.causes.dominant import kept_outputs
from lrtool.diagnosis.causes.proofs import THEN_AGAIN
from lrtool.diagnosis.run_figures import RunFigures, most
from lrtool.results import Category, Confidence, Finding, in_phase
from lrtool.units import count_of, format_bytes

EVALUATION_SHARE = 0.1
GARBAGE_SHARE = 0.1
GARBAGE_STEPS = 10
"""So many steps' garbage is taken to be there at once: nobody knows when Python's collector comes."""
KEPT_SHARE = 0.05
WHOLE_STATE = 0.9


@cause("evaluation", "waste")
def evaluation_with_graph(figures: RunFigures, name: str) -> Finding | None:
    """A pass that nothing goes back through saves its activations."""
    graphs = [(profile.evaluation_graph_bytes, profile.evaluation_source) for profile in figures.profiles[1:]]
    size, source = max(graphs, key=lambda each: each[0], default=(0, None))
    if size < EVALUATION_SHARE * figures.own_peak_bytes:
        return None
    return _waste(
        figures,
        cause=name,
        title="evaluation runs without no_grad",
        evidence=(
            f"{format_bytes(size)} of activations are saved by a forward pass that no backward pass follows",
            f"first at {source}" if source else "",
        ),
        proof=f"with torch.no_grad(): around that pass, {THEN_AGAIN}",
        cure="evaluate under torch.no_grad() or torch.inference_mode()",
        size=size,
        source=source,
    )


@cause("evaluation", "waste")
def evaluation_outputs(figures: RunFigures, name: str) -> Finding | None:
    """Evaluation makes the peak by what it collects on the GPU."""
    kept = kept_outputs(figures)
    if kept is None or figures.is_growing:
        return None
    return _waste(
        figures,
        cause=name,
        title="evaluation keeps its outputs on the GPU",
        evidence=kept.evidence,
        proof=f"outputs.append(model(x).cpu()) there, {THEN_AGAIN}",
        cure=kept.cure,
        size=kept.num_bytes,
        source=kept.source,
    )


@cause("old-run", "waste")
def garbage(figures: RunFigures, name: str) -> Finding | None:
    """A good part of memory is unreachable, or becomes so where the collector comes late."""
    of_steps = GARBAGE_STEPS * figures.step_garbage_bytes
    size = max(figures.garbage_bytes, of_steps)
    if size < GARBAGE_SHARE * figures.own_peak_bytes or not size:
        return None
    if size == of_steps:
        each = format_bytes(figures.step_garbage_bytes)
        evidence = (
            f"each step leaves {each} unreachable, until Python's collector comes: gc.collect() frees it, del does not"
        )
    else:
        evidence = f"{format_bytes(size)} are unreachable: gc.collect() frees them, del does not"
    return _waste(
        figures,
        cause=name,
        title="an old model or run is kept alive by a reference cycle",
        evidence=(evidence,),
        proof="import gc; gc.collect() before training: torch.cuda.memory_allocated() falls by that much",
        cure="break the cycle (schedulers and hooks that keep bound methods make one), call gc.collect() between runs, or "
        "start every run in a process of its own",
        size=size,
    )


@cause("autocast-cache", "waste")
def kept_weight_copies(figures: RunFigures, name: str) -> Finding | None:
    """Half-precision copies of weights outlive their step: an autocast context that is never left."""
    size = min((profile.kept_weight_copy_bytes for profile in figures.steady), default=0)
    if size < KEPT_SHARE * figures.own_peak_bytes or not size:
        return None
    return _waste(
        figures,
        cause=name,
        title="autocast's copies of the weights are kept between steps",
        evidence=(f"{format_bytes(size)} of half-precision copies of weights are live at the steps' ends",),
        proof="torch.clear_autocast_cache() at a step's end: memory falls by that much",
        cure="enter torch.autocast for each forward pass and leave it before backward; or cache_enabled=False",
        size=size,
    )


@cause("checkpoint-saving", "waste")
def checkpoint_saving(figures: RunFigures, name: str) -> Finding | None:
    """Some steps copy the whole state of the model."""
    parameters = figures.profiles[0].at_end.get(Category.PARAMETER, 0) if figures.profiles else 0
    saving = [each for each in figures.profiles[1:] if parameters and each.state_copy_bytes >= WHOLE_STATE * parameters]
    if not saving:
        return None
    largest = max(saving, key=lambda each: each.live_copy_bytes)
    num_copies = round(largest.live_copy_bytes / largest.state_copy_bytes)
    others = [each.peak_bytes for each in figures.steady if each not in saving]
    evidence = [
        f"{len(saving)} of {count_of(len(figures.profiles) - 1, 'distinct step')} copy all parameters on the GPU",
        f"{num_copies} x {format_bytes(largest.state_copy_bytes)} of copies are live at once"
        f"{': those before are still held while the next is made' if num_copies > 1 else ''}",
    ]
    if others:
        evidence.append(
            f"such a step peaks at {format_bytes(largest.peak_bytes)}, others at {format_bytes(most(others))} at most"
        )
    return _waste(
        figures,
        cause=name,
        title="saving copies the model's state on the GPU",
        evidence=(*evidence, f"at {largest.state_copy_source}" if largest.state_copy_source else ""),
        proof=f"leave the copy out, {THEN_AGAIN}",
        cure="copy to the CPU: {k: v.cpu() for k, v in model.state_dict().items()}, and drop the copy before; torch.save "
        "needs none",
        size=largest.live_copy_bytes,
        source=largest.state_copy_source,
    )


@cause("gradients-kept", "waste")
def gradients_kept(figures: RunFigures, name: str) -> Finding | None:
    """The same gradients are there from step to step, filled with zeros."""
    steady = figures.steady
    size = min((profile.early_gradient_bytes for profile in steady), default=0)
    if not size or size < KEPT_SHARE * figures.own_peak_bytes or any(each.new_gradient_bytes for each in steady):
        return None
    highest = figures.highest
    where = f"; the peak lies {in_phase(highest.peak_phase)}" if highest and highest.peak_phase else ""
    return _waste(
        figures,
        cause=name,
        title="gradients are kept between steps",
        evidence=(
            f"{format_bytes(size)} of gradients are live when a step's forward begins, and no step makes new ones{where}",
        ),
        proof=f"optimizer.zero_grad(set_to_none=True), {THEN_AGAIN}",
        cure="optimizer.zero_grad(set_to_none=True), torch's default since 2.0, before forward",
        size=size,
    )


def _waste(
    figures: RunFigures, *, cause: str, title: str, evidence: tuple[str, ...], proof: str, cure: str, size: int,
    source: str | None = None,
) -> Finding:  # fmt: skip
    share = size / max(figures.peak_allocated_bytes, 1)
    confidence: Confidence = "high" if figures.is_traced else "medium"
    return Finding(
        cause=cause,
        title=title,
        confidence=confidence,
        evidence=(*filter(None, evidence), f"that is {share:.1%} of the peak"),
        proof=proof,
        cure=cure,
        num_bytes=size,
        source=source,
    )
