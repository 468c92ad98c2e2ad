"""CrossEntropy: y = reduction(-sum(parts * log_softmax(x))), parts of weight[target] at target."""

import torch
from torch import Tensor

from twingrad.backends.torch_backend import log_softmax


def forward(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    # torch's own loss is NaN where no target is counted, and lets -inf logits spoil the others.
    counted = target != ignore_index
    if torch.compiler.is_compiling() or not bool(counted.all()):
        x = x.masked_fill(~counted[..., None], 0)  # or a NaN there would spread
    log_p = log_softmax.forward(x)
    places = target.where(counted, 0)
    each = x.new_ones(x.shape[-1]) if weight is None else weight
    weights = each[places].where(counted, 0)
    own = log_p.gather(-1, places[..., None])[..., 0]
    loss = _surprise((1 - label_smoothing) * weights, own)
    if label_smoothing:
        spread = counted[..., None] * (each * (label_smoothing / x.shape[-1]))
        loss = loss + _surprise(spread, log_p).sum(dim=-1)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    count = weights.sum()
    return loss.sum() / count.where(count != 0, 1)


def _surprise(parts: Tensor, log_p: Tensor) -> Tensor:
    # What has no part in the loss is left out, even where its log probability is -inf.
    absent = parts == 0
    return torch.where(absent, 0, -parts * log_p.masked_fill(absent, 0))
