"""Memory that only reference cycles keep alive: unreachable, and freed when Python's cyclic collector next happens to run."""

import gc
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def garbage_bytes(live: Mapping[int, Any]) -> int:
    """Bytes of the storages in `live` (by address, each with `num_bytes`) that unreachable tensors hold.

    Nothing is freed by looking: what is found stays as it was, for the collector to find again.
    """
    flags = gc.get_debug()
    kept = len(gc.garbage)
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = [each for each in gc.garbage[kept:] if issubclass(type(each), Tensor)]
        addresses = {tensor.untyped_storage()._cdata for tensor in found}
        addresses |= {t.grad.untyped_storage()._cdata for t in found if t.is_leaf and t.grad is not None}
        return sum(storage.num_bytes for address, storage in live.items() if address in addresses)
    finally:
        gc.set_debug(flags)
        del gc.garbage[kept:]
