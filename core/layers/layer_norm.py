"""LayerNorm: y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting
from twingrad.core.catalogue import register_layer, spec_of
from twingrad.core.contract import Tensor
from twingrad.core.errors import SettingError, ShapeError
from twingrad.core.module import Module, Parameter, apply, length_of
from twingrad.core.random import Constant
from twingrad.core.spec import Array, LayerSpec, Number


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    # Shifted by an element of the row first, so that a constant row is centred to exactly 0.
    centred = x - x[..., :1]
    centred = centred - _row_mean(centred)
    y: Array = centred / np.sqrt(_row_mean(centred * centred) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _row_mean(x: Array) -> Array:
    mean: Array = x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
    return mean


SPEC = LayerSpec(
    name="layer_norm",
    formula="y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias",
    inputs={"x": "... features", "weight": "features", "bias": "features"},
    optional=("weight", "bias"),
    output="... features",
    source="Ba, Kiros and Hinton 2016, arXiv:1607.06450, eq. 4",
    definition=layer_norm,
    settings={"eps": Number(1e-5, low=0.0)},
    meaning="var divides by features, eps is inside the root; a constant row gives exactly bias",
)
register_layer(SPEC)


class LayerNorm(Module):
    """Rows of mean 0 and variance 1 over the last dimension, then scaled and shifted."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        if len(shape) != 1:
            raise SettingError(
                f"LayerNorm: normalized_shape must be the length of the last dimension; "
                f"got {normalized_shape!r}"
            )
        length_of("LayerNorm", "normalized_shape", shape[0])
        check_setting(spec_of("layer_norm"), "eps", eps)
        self.normalized_shape, self.eps = shape, eps
        self.weight: Any = Parameter(shape, Constant(1.0)) if elementwise_affine else None
        self.bias: Any = Parameter(shape, Constant(0.0)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        if x.shape[-1:] != self.normalized_shape:
            raise ShapeError(
                f"layer_norm: normalized_shape is {self.normalized_shape}, so x must be "
                f"(..., {self.normalized_shape[0]}); got x of shape {tuple(x.shape)}"
            )
        inputs = {"x": x, "weight": self.weight, "bias": self.bias}
        return apply(self, "layer_norm", inputs, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape[0]}, eps={self.eps}"
