"""When Python's cyclic collector runs in a trace: as it begins, after the build and after each step, and at no other time.

Tensors that only a reference cycle holds are freed by the collector. On a real run it comes once some hundreds of objects
more were made than freed, by whichever library: the training does not determine when, and the caching allocator never
asks for it (pytorch#20199, pytorch#50185). A trace needs a rule. Within a step garbage stays, which is the most that a
step can hold of its own; after the step it is gone, as where a training loop collects between steps to have all its ranks
do so at once (torchtitan#148). So equal steps are equal whatever ran before them, nothing seems to grow that a collector
would free, and what each step left to it is known.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from lrtool.tracing.patching import replaced

_NEVER = 0
Thresholds = tuple[int, ...]


@contextmanager
def collector_held() -> Iterator[Callable[[], None]]:
    """Keep the collector from running by itself in the body, also where code in it enables it or sets thresholds.

    What is alive now is left to no collection, unless the caller has frozen objects already: a look through all objects of
    torch takes part of a second. Call what is yielded to have them looked through again, as is done after the body.
    """
    gc.collect()  # garbage of what ran before would be frozen with the rest, or be freed in the trace
    was_enabled, set_threshold, thaw = gc.isenabled(), gc.set_threshold, _frozen()
    wanted: list[Thresholds] = [gc.get_threshold()]
    set_threshold(_NEVER)
    try:
        with replaced((gc, "set_threshold", partial(_remember, wanted)), (gc, "get_threshold", lambda: wanted[0])):
            yield thaw
    finally:
        set_threshold(*wanted[0])
        (gc.enable if was_enabled else gc.disable)()
        thaw()


def _remember(wanted: list[Thresholds], *thresholds: int) -> None:
    wanted[0] = thresholds + wanted[0][len(thresholds) :]


def _frozen() -> Callable[[], None]:
    """Freeze what is alive; a function that undoes it."""
    if gc.get_freeze_count():
        return lambda: None
    gc.freeze()
    return gc.unfreeze
