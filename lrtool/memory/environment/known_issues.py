"""What is known to go wrong with memory in which torch release: one table, looked up by version. Pure."""

from dataclasses import dataclass

from lrtool.results import KnownIssue

Version = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedIssue:
    """A known issue of the releases from `since` on and before `before`; None is without limit on that side."""

    since: Version | None = None
    before: Version | None = None
    title: str
    advice: str
    source: str

    def concerns(self, version: Version) -> bool:
        return (self.since is None or version >= self.since) and (self.before is None or version < self.before)


def known_issues_of(version: Version) -> tuple[KnownIssue, ...]:
    """The known issues of torch `version`, as (major, minor)."""
    return tuple(
        KnownIssue(title=issue.title, advice=issue.advice, source=issue.source)
        for issue in KNOWN_ISSUES
        if issue.concerns(version)
    )  # fmt: skip


KNOWN_ISSUES = (
    VersionedIssue(
        before=(1, 13),
        title="CyclicLR keeps its optimizer, and so the model, alive until the garbage collector runs",
        advice="del scheduler, then gc.collect() between runs, or a process for each run",
        source="pytorch#85462",
    ),
    VersionedIssue(
        since=(1, 13), before=(2, 0),
        title="CyclicLR.state_dict() cannot be pickled (a WeakMethod is in it)",
        advice='drop the key "_scale_fn_ref" before torch.save',
        source="pytorch#88684",
    ),
    VersionedIssue(
        before=(2, 1),
        title="OneCycleLR keeps its optimizer, and so the model, alive until the garbage collector runs",
        advice="del scheduler, then gc.collect() between runs, or a process for each run",
        source="checked on 2.0.1 (keeps it) and 2.1.2 (does not)",
    ),
    VersionedIssue(
        since=(2, 0),
        title="optimizers use foreach kernels on CUDA, with temporaries of up to the parameters' size in step()",
        advice="foreach=False or fused=True in the optimizer",
        source="pytorch#97712",
    ),
    VersionedIssue(
        before=(2, 5),
        title="expandable_segments together with max_split_size_mb ends in an internal assert when memory runs out",
        advice="set one of the two",
        source="c10/cuda/CUDACachingAllocator.cpp",
    ),
    VersionedIssue(
        before=(2, 7),
        title="PYTORCH_NO_CUDA_MEMORY_CACHING disables the cache by any value, 0 included",
        advice="unset it to have the cache",
        source="c10/cuda/CUDACachingAllocator.cpp",
    ),
    VersionedIssue(
        before=(2, 9),
        title="PYTORCH_ALLOC_CONF is not read",
        advice="set PYTORCH_CUDA_ALLOC_CONF",
        source="pytorch#167659",
    ),
    VersionedIssue(
        since=(2, 9), before=(2, 11),
        title="PYTORCH_ALLOC_CONF=expandable_segments:True is ignored on CUDA (seen on 2.9.1, works on 2.11)",
        advice="set PYTORCH_CUDA_ALLOC_CONF, the old name",
        source="pytorch#183387",
    ),
    VersionedIssue(
        since=(2, 13),
        title="with both PYTORCH_ALLOC_CONF and PYTORCH_CUDA_ALLOC_CONF set, the latter, an alias, wins",
        advice="set one of them",
        source="torch._C._accelerator_getAllocatorSettings() of 2.13 and 2.15",
    ),
    VersionedIssue(
        since=(2, 15),
        title="an unknown allocator option raises ValueError, expandable_segments_handle_type among them",
        advice="lrtool replay --settings checks the spelling",
        source="torch._C._accelerator_setAllocatorSettings() of 2.15",
    ),
    VersionedIssue(
        before=(2, 15),
        title="cuBLAS keeps a workspace per handle and stream (8.1 or 32 MiB); it looks like a leak",
        advice="none needed: it is taken once; CUBLAS_WORKSPACE_CONFIG=:16:8 makes it small",
        source="pytorch#95668, #83461",
    ),
    VersionedIssue(
        since=(2, 15),
        title="cuBLAS workspaces are taken and given back by every matrix product",
        advice="TORCH_CUBLAS_WORKSPACE_CACHE=1 keeps them, as before",
        source="pytorch#194311",
    ),
    VersionedIssue(
        since=(2, 15),
        title="the warning of export_memory_timeline names a function that does not exist",
        advice="torch.cuda.memory._dump_snapshot writes the snapshot",
        source="torch/profiler of 2.15",
    ),
)  # fmt: skip
