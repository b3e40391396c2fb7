"""Every figure that lrtool shows: its formula, what it means, and whose definition it is. Said once, here.

The report page explains with it what it shows, and `docs/metrics.md` is written from it.
"""

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """How a metric stands in the table of a sweep's trials; an optional one where it is known and there is room for it."""

    heading: str
    _: KW_ONLY
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One figure. `formula` is in the words of `torch.cuda.memory_stats` where there is one for it; `field` is its name
    in JSON and CSV. A metric of a trial has the unit that its field says.
    """

    field: str
    formula: str
    meaning: str
    source: str | None = None
    column: Column | None = None

    @property
    def fields(self) -> list[str]:
        """The fields of results that hold it: "growth" for `growth.bytes_per_step`."""
        return [name.partition(".")[0] for name in self.field.split(", ")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Figures that belong together."""

    heading: str
    terms: dict[str, Term]


SMITH = "Smith, Cyclical Learning Rates for Training Neural Networks (2017), arxiv.org/abs/1506.01186"
GMLAKE = "Guo et al., GMLake (2024), arxiv.org/abs/2401.08156"
TORCH = "torch.cuda.memory_stats"

GROUPS = (
    Group(
        heading="Learning rates",
        terms={
            "base_lr": Term(
                field="base_lr",
                formula="where 10 % of the descent of the smoothed loss is done; at least max_lr / 100, at most max_lr / 4",
                meaning="lower end of CyclicLR's cycle",
                source=SMITH,
            ),
            "max_lr": Term(
                field="max_lr",
                formula="0.6 * geometric mean of four LRs of the smoothed loss: half of the descent done, minimum, 10 % of "
                "the descent given back, 50 % given back (the last LR seen, where it does not come to that)",
                meaning="upper end of the cycle, for CyclicLR and OneCycleLR; early and late landmarks err in opposite "
                "directions",
            ),
            "suggested_lr": Term(
                field="suggested_lr",
                formula="0.4 * max_lr",
                meaning="for training at a constant LR, which has to be good to the end",
            ),
            "smoothed loss": Term(
                field="curve.smoothed_loss",
                formula="local quadratic regression with tricube weights over 13 % of the points, equally spaced in steps; "
                "an explosion is cut off first, and single outliers are drawn in",
                meaning="the curve that the landmarks are read from: without the lag of a moving average",
                source="Cleveland, LOESS (1979)",
            ),
            "noise": Term(
                field="reason",
                formula="1.4826 * median of |raw loss - smoothed loss|, up to the minimum",
                meaning="how far single losses lie from the curve; a suggestion needs a descent of at least three times "
                "that, and of four standard errors of the smoothed loss",
            ),
            "confidence": Term(
                field="confidence",
                formula="high: one descent whose start and end were seen, 10 times the noise or more, max_lr's interval "
                "within 0.3 decades, 20 points a decade or more; medium: 3 times, 0.7 decades, or clipped gradients; low: "
                "less, two descents, an end that was not seen, batches in an order, samples seen over 40 times, LBFGS, "
                "a surrogate loss; none: no suggestion",
                meaning="how far to trust the suggestion",
            ),
            "interval": Term(
                field="max_lr_interval",
                formula="5 % and 95 % quantiles over 100 curves that are as noisy as the measured ones (wild bootstrap); with "
                "confirming runs, half their spacing",
                meaning="where the LR lies, as far as the noise of this curve goes",
                source="Wu, Jackknife, Bootstrap and Other Resampling Methods (1986)",
            ),
            "step_size_up": Term(
                field="step_size_up",
                formula="4 * steps per epoch",
                meaning="steps from base_lr up to max_lr; 2 to 10 epochs are usual, and a cycle is twice as long",
                source=SMITH,
            ),
        },
    ),
    Group(
        heading="Peaks",
        terms={
            "peak allocated": Term(
                field="peak_allocated_bytes, max_memory_allocated_bytes",
                formula="allocated_bytes.all.peak",
                meaning="the most that tensors used at once, rounded up to the allocator's blocks; what a change of the model "
                "or the batch size moves",
                source=TORCH,
                column=Column("peak\nallocated"),
            ),
            "peak reserved": Term(
                field="peak_reserved_bytes, max_memory_reserved_bytes",
                formula="reserved_bytes.all.peak",
                meaning="the most that the allocator took from the device at once; what has to fit, beside the CUDA context",
                source=TORCH,
                column=Column("peak\nreserved"),
            ),
            "peak active": Term(
                field="peak_active_bytes, max_memory_active_bytes",
                formula="active_bytes.all.peak",
                meaning="as allocated, with blocks that are free but that another stream still uses",
                source=TORCH,
            ),
            "peak requested": Term(
                field="peak_requested_bytes",
                formula="requested_bytes.all.peak",
                meaning="as allocated, before rounding up",
                source=TORCH,
            ),
        },
    ),
    Group(
        heading="Fragmentation",
        terms={
            "fragmentation": Term(
                field="fragmentation",
                formula="1 - peak active / peak reserved",
                meaning="part of the reserved memory that was never in use at once: 0 is none",
                source=GMLAKE,
                column=Column("\nfrag."),
            ),
            "split": Term(
                field="split_fragmentation",
                formula="inactive_split_bytes / reserved_bytes, when most was reserved",
                meaning="free pieces of segments that are partly in use: what a cache flush cannot give back",
                source=TORCH,
            ),
            "releasable cache": Term(
                field="releasable_bytes",
                formula="reserved - active - inactive split",
                meaning="free whole segments: what a cache flush gives back",
            ),
            "rounding loss": Term(
                field="rounding_loss",
                formula="1 - requested / allocated",
                meaning="what rounding up to blocks, and remainders too small to split, cost inside of them",
            ),
            "largest free": Term(
                field="largest_free_ratio",
                formula="largest free block / all free bytes (reserved - active), when most was reserved",
                meaning="1 is one piece; near 0, free memory is fragmented; not known where nothing was free, nor on a GPU "
                "without a snapshot of that moment (--history)",
                column=Column("larg.\nfree", is_optional=True),
            ),
            "out of memory by fragmentation": Term(
                field="death.cause",
                formula="largest free block < request <= all free bytes, at the request that failed",
                meaning="there was enough memory, and no piece of it was large enough; else the cause is capacity",
            ),
            "retries": Term(
                field="num_alloc_retries",
                formula="num_alloc_retries",
                meaning="how often the allocator had to flush its cache and try again: each stalls the GPU",
                source=TORCH,
            ),
            "device allocs": Term(
                field="num_device_allocs, device_allocs_per_step",
                formula="num_device_alloc; per step: (last - that at the end of the warm-up) / steps between",
                meaning="calls to the device (cudaMalloc) by the allocator; 0 per step after warm-up in a steady run",
                source=TORCH,
            ),
        },
    ),
    Group(
        heading="Over the steps",
        terms={
            "growth": Term(
                field="growth.bytes_per_step",
                formula="the constant rise of allocated memory at the steps' ends where they repeat exactly but for it; else "
                "the median slope between steps a quarter of the run apart, with the 95 % interval of a median",
                meaning="bytes that each step leaves behind; 0 B where the interval holds zero",
                column=Column("growth\nper step"),
            ),
            "full at step": Term(
                field="verdict.forecast_step",
                formula="first step at which level + growth * steps exceeds the capacity, for peak allocated and for reserved "
                "memory, whichever is first; the step itself where a run ran out of memory",
                meaning="where training runs out of memory",
            ),
            "noise of repeats": Term(
                field="figures.noise",
                formula="largest - smallest over the repeats of one condition; of growth, down to the end of its interval",
                meaning="a difference below it says nothing",
            ),
            "difference at equal steps": Term(
                field="verdict.max_abs_difference_at_equal_steps_bytes",
                formula="largest |a - b| of allocated or reserved memory between two runs at a step that both reached",
                meaning="0 B: the setting that was varied does not matter, only how long a run is",
            ),
        },
    ),
    Group(
        heading="The budget of bytes, and cures",
        terms={
            "activations": Term(
                field="budget.lines, budget.modules",
                formula="requested bytes of what the forward pass saved for the backward pass, by module",
                meaning="what checkpointing, bf16 and a smaller batch bring down",
            ),
            "temporaries": Term(
                field="budget.lines",
                formula="requested bytes of tensors that are none of the other kinds",
                meaning="intermediate results of operators, and what a program keeps for itself",
            ),
            "workspaces": Term(
                field="budget.lines",
                formula="requested bytes of libraries' and kernels' scratch memory",
                meaning="cuBLAS uses some per handle and stream",
            ),
            "rounding": Term(
                field="budget.lines",
                formula="sum over blocks in use of size - requested",
                meaning="what the allocator rounds up, in bytes",
            ),
            "split bytes": Term(
                field="budget.lines",
                formula="inactive_split_bytes.all.current",
                meaning="free pieces of segments that are partly in use",
                source=TORCH,
            ),
            "cache": Term(
                field="budget.lines",
                formula="reserved - active - inactive split",
                meaning="free whole segments: the releasable cache, in the budget",
            ),
            "context": Term(
                field="budget.context_bytes",
                formula="device used - reserved - other processes, on a GPU; elsewhere assumed",
                meaning="what CUDA itself uses of the device",
            ),
            "saved": Term(
                field="saved_allocated_bytes, saved_reserved_bytes",
                formula="peak without the cure - peak with it",
                meaning="negative where the cure uses more",
            ),
            "step time": Term(
                field="time_ratio",
                formula="duration of a step with the cure / without; of a prediction, floating-point operations (ops)",
                meaning="what the cure costs",
            ),
            "loss": Term(
                field="loss_difference",
                formula="loss of the last step with the cure - without, from the same seed",
                meaning="whether the cure changes the training",
            ),
        },
    ),
    Group(
        heading="Where figures come from",
        terms={
            "measured": Term(
                field='recorder: "cuda"',
                formula="torch.cuda.memory_stats, read at each step's end",
                meaning="from a run on this GPU",
            ),
            "predicted": Term(
                field='recorder: "predicted"',
                formula="allocations of the training step on fake CUDA tensors, played on a model of the caching allocator",
                meaning="without a GPU; the tensors of a step and scratch of most kernels are in it, cuDNN's as an "
                "estimate; the CUDA context is not",
            ),
            "from CPU": Term(
                field='recorder: "cpu"',
                formula="allocations of a real run on the CPU, played on a model of the caching allocator",
                meaning="for code that cannot run on fake tensors",
            ),
        },
    ),
)

GLOSSARY = {name: term for group in GROUPS for name, term in group.terms.items()}
