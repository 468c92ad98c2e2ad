"""Attention: y = softmax(scale * query @ key.T, where visible) @ value."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from twingrad.backends.torch_backend import dropout, softmax
from twingrad.backends.torch_backend.ordinary import is_ordinary

MODERATE = 16.0  # size of scores that the fused kernel may see
LARGE = 2.0**40  # size from which the products of masked numbers may overflow
MANY = 1 << 14  # scores that are worth it, for its weights round where others are exact


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
    only_causal = causal and mask is None
    visible = None if only_causal else _visible(query, key, mask, causal)
    are_ordinary = all(is_ordinary(x, LARGE) for x in (query, key, value))
    if keep is None and are_ordinary and _fits_fused_kernel(query, key, visible, scale):
        y = F.scaled_dot_product_attention(
            query, key, value, visible, is_causal=only_causal, scale=scale
        )
        # Where a query sees one key alone, as the first does here, its gradient is 0, but the
        # kernel's is what rounding left.
        return torch.cat((value[..., :1, :], y[..., 1:, :]), dim=-2) if only_causal else y
    if only_causal:
        visible = _visible(query, key, mask, causal)
    if visible is None and keep is None:
        return torch.softmax((scale * query) @ key.mT, dim=-1) @ value
    if visible is None:
        pairs = (*query.shape[:-1], key.shape[-2])
        visible = torch.ones(pairs, dtype=torch.bool, device=query.device)
    spoilt = None
    if not are_ordinary:
        (query, key, value), spoilt = _without_absent_values(query, key, value, visible)
    scores = (scale * (query @ key.mT)).masked_fill(~visible, -torch.inf)
    weights = softmax.forward(scores)
    if not are_ordinary:  # or 0 * inf, on the way back, would be NaN
        weights = weights.masked_fill(~visible, 0)
    if keep is not None:
        weights = dropout.forward(weights, keep, p)
    y = weights @ value
    return y if spoilt is None else y * spoilt


def _visible(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """Return which query sees which key, (..., q, k), or None if each sees all."""
    if causal:
        # Each sees the keys up to its own number.
        shape = (query.shape[-2], key.shape[-2])
        earlier = torch.ones(shape, dtype=torch.bool, device=query.device).tril()
        mask = earlier if mask is None else mask & earlier
    return None if mask is None else mask.expand(*query.shape[:-1], key.shape[-2])


def _without_absent_values(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Return the inputs with 0 for what is not finite, and NaN for each query that sees such.

    torch's fused kernels let a NaN in a masked key or value through, since 0 * NaN is NaN.
    """
    finite = [torch.isfinite(x) for x in (query, key, value)]
    clean = [x.masked_fill(~ok, 0) for x, ok in zip((query, key, value), finite, strict=True)]
    bad_query, bad_key, bad_value = (~ok.all(dim=-1, keepdim=True) for ok in finite)
    sees_bad = (visible & (bad_query | (bad_key | bad_value).mT)).any(dim=-1, keepdim=True)
    return clean, torch.ones_like(sees_bad, dtype=query.dtype).masked_fill(sees_bad, torch.nan)


def _fits_fused_kernel(query: Tensor, key: Tensor, visible: Tensor | None, scale: float) -> bool:
    """Return whether torch's fused kernel is exact to the bound here: scores are moderate.

    Its backward recomputes each weight as e^(score - log sum): with scores near 10,000 three digits
    are left of it, and near 10^8 none.
    """
    keys = key.shape[-2]
    if query.dim() != 4 or keys == 1 or math.prod(query.shape[:-1]) * keys < MANY:
        return False
    # A query that sees nothing gets 0 by the spec, and one that sees one key no gradient.
    if visible is not None and not bool((visible.sum(dim=-1) > 1).all()):
        return False
    with torch.no_grad():
        query_size, key_size = (torch.linalg.vector_norm(x, dim=-1) for x in (query, key))
    if not bool(query_size.all()):
        return False  # equal scores have equal weights, from which the kernel's are a rounding away
    return abs(scale) * float(query_size.max() * key_size.max()) <= MODERATE
