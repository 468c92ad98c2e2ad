"""CrossEntropy: y = reduction(-sum(parts * log_softmax(x))), parts of weight[target] at target."""

import torch
import torch.nn.functional as F
from torch import Tensor

from twingrad.backends.torch_backend import log_softmax
from twingrad.backends.torch_backend.ordinary import is_ordinary


def forward(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    counted = target != ignore_index
    if is_ordinary(x) and bool(counted.all()) and (weight is None or bool((weight == 1).all())):
        rows, flat = x.reshape(-1, x.shape[-1]), target.reshape(-1)
        loss = F.cross_entropy(rows, flat, reduction=reduction, label_smoothing=label_smoothing)
        return loss.reshape(target.shape) if reduction == "none" else loss
    # torch's own loss is NaN where no target is counted, and lets -inf logits spoil the others.
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
