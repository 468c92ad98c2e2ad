"""Attention: y = softmax(scale * query @ key.T, where visible) @ value."""

import math

import torch
from torch import Tensor

from twingrad.backends.torch_backend import dropout, softmax


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    keep: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    p: float = 0.0,
) -> Tensor:
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    if mask is None and keep is None and not causal:
        # Not torch's fused kernel, whose backward recomputes each weight as e^(score - log sum):
        # with scores near 10,000 three digits are left of it, and near 10^8 none.
        return torch.softmax((scale * query) @ key.mT, dim=-1) @ value
    shape = (*query.shape[:-1], key.shape[-2])
    visible = (
        torch.ones(shape, dtype=torch.bool, device=query.device)
        if mask is None
        else mask.expand(shape)
    )
    visible = visible.tril() if causal else visible
    # torch's fused kernels let a NaN in a masked key or value through, since 0 * NaN is NaN. So
    # what is not finite becomes 0, and the queries that may see it are spoilt afterwards.
    finite = [torch.isfinite(x) for x in (query, key, value)]
    query, key, value = (
        x.masked_fill(~ok, 0) for x, ok in zip((query, key, value), finite, strict=True)
    )
    scores = (scale * (query @ key.mT)).masked_fill(~visible, -torch.inf)
    weights = softmax.forward(scores)
    if keep is not None:
        weights = dropout.forward(weights, keep, p)
    bad_query, bad_key, bad_value = (~ok.all(dim=-1, keepdim=True) for ok in finite)
    sees_bad = (visible & (bad_query | (bad_key | bad_value).mT)).any(dim=-1, keepdim=True)
    spoilt = torch.ones_like(sees_bad, dtype=query.dtype).masked_fill(sees_bad, torch.nan)
    return (weights @ value) * spoilt
