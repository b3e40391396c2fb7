"""A workload that distributes its own model, which it does only under a launcher."""

from good import build as good
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel


def build(how: str = "ddp"):
    setup = good()
    model = setup["model"]
    if how == "ddp":
        return setup | {"model": DistributedDataParallel(model)}
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    lr = setup["optimizer"].param_groups[0]["lr"]
    return setup | {"model": model, "optimizer": type(setup["optimizer"])(model.parameters(), lr=lr)}
