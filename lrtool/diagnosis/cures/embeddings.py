"""A cure of embeddings: gradients that have the rows of the batch only."""

from dataclasses import replace

from torch import nn
from torch.optim import SGD, Adagrad, Adam, Optimizer, SparseAdam

from lrtool.diagnosis.cures.applied import AppliedCure, CannotHelp, CureOptions
from lrtool.diagnosis.cures.cure import Stage, cure
from lrtool.workload.workload import Workload, optimizer_parameters


@cure(
    name="sparse-embedding",
    title="sparse=True in embeddings",
    stage=Stage.OPTIMIZER,
    family="embedding",
    note="SGD and Adagrad take sparse gradients; Adam needs SparseAdam, which moves the rows of a batch only",
)
def sparse_gradients(workload: Workload, _options: CureOptions) -> AppliedCure:
    """Every embedding whose weight nothing else uses gets sparse gradients."""
    embeddings = [each for each in workload.model.modules() if isinstance(each, nn.Embedding | nn.EmbeddingBag)]
    if not embeddings:
        raise CannotHelp("the model has no embedding")
    if all(each.sparse for each in embeddings):
        raise CannotHelp("its embeddings are sparse already")
    _refuse_optimizer(workload.optimizer)
    if workload.clip_norm is not None:
        raise CannotHelp("clipping by norm takes no sparse gradients")
    alone = [each for each in embeddings if not _is_shared(each, workload.model) and _takes_sparse(each)]
    if not alone:
        raise CannotHelp("its embeddings share their weights with a layer, whose gradient is dense")
    for each in alone:
        each.sparse = True
    return AppliedCure(workload=replace(workload), how=(f"nn.{type(alone[0]).__name__}(..., sparse=True)",))


def _refuse_optimizer(optimizer: Optimizer) -> None:
    name = type(optimizer).__name__
    if isinstance(optimizer, Adam):
        raise CannotHelp(f"{name} takes no sparse gradients: give the embedding to torch.optim.SparseAdam")
    if not isinstance(optimizer, SGD | Adagrad | SparseAdam):
        raise CannotHelp(f"{name} is not known to take sparse gradients")
    if any(group.get("weight_decay") for group in optimizer.param_groups):
        raise CannotHelp(f"{name} takes no sparse gradients together with weight decay")
    if isinstance(optimizer, SGD) and any(group.get("momentum") for group in optimizer.param_groups):
        raise CannotHelp("momentum makes a sparse gradient dense again")
    if any(group.get("fused") or group.get("maximize") for group in optimizer.param_groups):
        raise CannotHelp(f"{name}'s fused kernel takes no sparse gradients")
    assert optimizer_parameters(optimizer)


def _is_shared(embedding: nn.Embedding | nn.EmbeddingBag, model: nn.Module) -> bool:
    """Whether another module holds the same weight, as a language model's head does."""
    holders = [each for each in model.modules() if any(p is embedding.weight for p in each._parameters.values())]
    return len(holders) > 1


def _takes_sparse(embedding: nn.Embedding | nn.EmbeddingBag) -> bool:
    is_bag_of_max = isinstance(embedding, nn.EmbeddingBag) and embedding.mode == "max"
    return not is_bag_of_max and not embedding.scale_grad_by_freq and embedding.weight.requires_grad
