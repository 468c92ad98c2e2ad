"""Sigmoid: y = 1 / (1 + e^-x)."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.complex_step import absolute
from twingrad.core.contract import Tensor
from twingrad.core.module import Module, apply
from twingrad.core.spec import Array, LayerSpec


def sigmoid(x: Array) -> Array:
    e = np.exp(-absolute(x))
    return np.where(x.real >= 0, 1 / (1 + e), e / (1 + e))


SPEC = LayerSpec(
    name="sigmoid",
    formula="y = 1 / (1 + e^-x)",
    inputs={"x": "..."},
    output="...",
    source="torch.nn.functional.sigmoid",
    definition=sigmoid,
    meaning="finite in, finite out, without a warning",
)
register_layer(SPEC)


class Sigmoid(Module):
    """Logistic function of each element."""

    def forward(self, x: Any) -> Tensor:
        return apply(self, "sigmoid", {"x": x})
