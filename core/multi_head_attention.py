"""Multi-head attention: projections around the layer `attention`, as in Vaswani et al. 2017."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting
from twingrad.core.catalogue import spec_of
from twingrad.core.contract import Tensor
from twingrad.core.errors import DTypeError, SettingError, ShapeError
from twingrad.core.layers import Linear
from twingrad.core.module import Module, Parameter, apply, backend_for, draw_keep, length_of
from twingrad.core.random import Constant, Draws, xavier_uniform


class MultiHeadAttention(Module):
    """Attention in several subspaces at once, with torch.nn.MultiheadAttention's arguments.

    Its masks are torch's too: in `key_padding_mask` (N, S) and a boolean `attn_mask` (L, S) or
    (N * num_heads, L, S), True means *not* to attend, the opposite of the layer `attention`.
    A query with nothing to attend to gets 0 from every head, where torch says NaN.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        length_of("MultiHeadAttention", "embed_dim", embed_dim)
        if num_heads < 1 or embed_dim % num_heads:
            raise SettingError(
                f"MultiHeadAttention: num_heads must divide embed_dim = {embed_dim}; "
                f"got {num_heads}"
            )
        check_setting(spec_of("attention"), "p", dropout)
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.batch_first = batch_first
        self.draws = Draws(0, "attention")
        kdim, vdim = kdim or embed_dim, vdim or embed_dim
        self.in_proj_weight: Any = None
        if kdim == vdim == embed_dim:
            initial = xavier_uniform(embed_dim, 3 * embed_dim)
            self.in_proj_weight = Parameter((3 * embed_dim, embed_dim), initial)
        else:
            self.q_proj_weight, self.k_proj_weight, self.v_proj_weight = (
                Parameter((embed_dim, width), xavier_uniform(width, embed_dim))
                for width in (embed_dim, kdim, vdim)
            )
        self.in_proj_bias: Any = Parameter((3 * embed_dim,), Constant(0.0)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            self.out_proj.bias = Parameter((embed_dim,), Constant(0.0))

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and, if `need_weights`, the attention weights (else None).

        Shapes: query (L, N, E), key (S, N, kdim), value (S, N, vdim), or (N, L, E) and so on if
        batch_first, or without N -> output like query; weights (N, L, S), or
        (N, num_heads, L, S) if not averaged.
        """
        batched = query.ndim == 3
        if not batched:
            query, key, value = (x.reshape(1, *x.shape) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        mask = self._visible(query, key, key_padding_mask, attn_mask)
        if mask is not None:
            key, value = (self._without_unseen(x, mask) for x in (key, value))
        heads = [self._heads(x, which) for which, x in enumerate((query, key, value))]
        inputs = dict(zip(("query", "key", "value"), heads, strict=True))
        inputs["mask"] = mask
        settings: dict[str, Any] = {"causal": is_causal}
        if self.training and self.dropout:
            shape = (*heads[0].shape[:3], heads[1].shape[2])
            inputs["keep"] = draw_keep(self, query, tuple(shape), self.dropout)
            settings["p"] = self.dropout
        output = apply(self, "attention", inputs, **settings)
        batch, _, length, _ = output.shape
        output = self.out_proj(output.transpose(1, 2).reshape(batch, length, self.embed_dim))
        weights = None
        if need_weights:
            weights = self._weights(inputs, settings, average_attn_weights)
        if not batched:
            return output[0], weights if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _heads(self, x: Any, which: int) -> Tensor:
        """Project x (N, length, width) and cut it into heads (N, num_heads, length, width)."""
        rows = slice(which * self.embed_dim, (which + 1) * self.embed_dim)
        if self.in_proj_weight is None:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        else:
            weight = self.in_proj_weight[rows]
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        x = apply(self, "linear", {"x": x, "weight": weight, "bias": bias})
        width = self.embed_dim // self.num_heads
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, width).transpose(1, 2)

    def _visible(self, query: Any, key: Any, key_padding_mask: Any, attn_mask: Any) -> Any:
        """Turn torch's two masks (True = hidden) into the layer's one (True = may attend).

        Shapes: query (N, L, E), key (N, S, kdim) -> four dimensions that broadcast to
        (N, num_heads, L, S), or None if there is no mask.
        """
        batch, rows, columns = query.shape[0], query.shape[1], key.shape[1]
        visible = None
        if key_padding_mask is not None:
            hidden = self._boolean("key_padding_mask", key_padding_mask, query)
            _check_mask("key_padding_mask", hidden, (batch, columns), (columns,) * (batch == 1))
            visible = (~hidden).reshape(batch, 1, 1, columns)
        if attn_mask is not None:
            hidden = self._boolean("attn_mask", attn_mask, query)
            per_head = (batch * self.num_heads, rows, columns)
            _check_mask("attn_mask", hidden, per_head, (rows, columns))
            wide = (batch, self.num_heads) if hidden.ndim == 3 else (1, 1)
            allowed = (~hidden).reshape(*wide, rows, columns)
            visible = allowed if visible is None else visible & allowed
        return visible

    def _boolean(self, name: str, mask: Any, query: Any) -> Any:
        """Return a mask as an array of its backend, to compute with outside the tape."""
        plain = backend_for(self, "attention", {"query": query}).plain(mask)
        dtype = str(plain.dtype).removeprefix("torch.")
        if dtype != "bool":
            raise DTypeError(
                f"MultiHeadAttention: {name} must be boolean, True = hidden; got {dtype}"
            )
        return plain

    def _without_unseen(self, x: Any, visible: Any) -> Tensor:
        """Return x (N, S, width) with 0 in the rows that no query may attend to."""
        # They get no gradient, but 0 * NaN would spoil that of the projection's weight.
        seen = visible.any(1).any(1)[:, :, None]
        keep = backend_for(self, "attention", {"x": x}).broadcast(seen, tuple(x.shape))
        return apply(self, "dropout", {"x": x, "keep": keep}, p=0.0)

    def _weights(
        self, inputs: Mapping[str, Any], settings: Mapping[str, Any], average: bool
    ) -> Tensor:
        # Attention to the rows of an identity matrix is the weights themselves.
        key = inputs["key"]
        eye = np.broadcast_to(np.eye(key.shape[-2]), (*key.shape[:-1], key.shape[-2]))
        rows = backend_for(self, "attention", inputs).constant(eye, key)
        weights = apply(self, "attention", {**inputs, "value": rows}, **settings)
        return weights.mean(1) if average else weights

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}, dropout={self.dropout}"


def _check_mask(name: str, mask: Any, *shapes: tuple[int, ...]) -> None:
    expected = [shape for shape in shapes if shape]
    if tuple(mask.shape) not in expected:
        raise ShapeError(
            f"MultiHeadAttention: {name} must be {' or '.join(map(str, expected))}; "
            f"got {tuple(mask.shape)}"
        )
