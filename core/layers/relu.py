"""ReLU: y = max(x, 0)."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.contract import Tensor
from twingrad.core.module import Module, apply
from twingrad.core.spec import Array, LayerSpec


def relu(x: Array) -> Array:
    return np.where(x.real <= 0, 0, x)


SPEC = LayerSpec(
    name="relu",
    formula="y = max(x, 0)",
    inputs={"x": "..."},
    output="...",
    source="Nair and Hinton 2010, ICML, section 2",
    definition=relu,
    meaning="the gradient at 0 is 0; NaN stays NaN and lets the gradient through",
)
register_layer(SPEC)


class ReLU(Module):
    """What is above 0 of each element."""

    def forward(self, x: Any) -> Tensor:
        return apply(self, "relu", {"x": x})
