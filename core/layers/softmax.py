"""Softmax: y = e^x / sum(e^x), over the last dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.contract import Tensor
from twingrad.core.errors import ShapeError
from twingrad.core.layers.log_softmax import log_softmax
from twingrad.core.module import Module, apply
from twingrad.core.spec import Array, LayerSpec


def softmax(x: Array) -> Array:
    return np.exp(log_softmax(x))


SPEC = LayerSpec(
    name="softmax",
    formula="y = e^x / sum(e^x)",
    inputs={"x": "... n"},
    output="... n",
    source="Bridle 1990, doi:10.1007/978-3-642-76153-9_28",
    definition=softmax,
    meaning="over the last dimension; a logit of -inf has probability and gradient exactly 0",
)
register_layer(SPEC)


class Softmax(Module):
    """Probabilities over the dimension `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        if self.dim in (-1, x.ndim - 1):
            return apply(self, "softmax", {"x": x})
        if not -x.ndim <= self.dim < x.ndim:
            raise ShapeError(
                f"softmax: dim must be an axis of x; got {self.dim} and x of shape {tuple(x.shape)}"
            )
        return apply(self, "softmax", {"x": x.transpose(self.dim, -1)}).transpose(self.dim, -1)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
