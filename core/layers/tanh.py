"""Tanh: y = (e^x - e^-x) / (e^x + e^-x)."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.complex_step import absolute
from twingrad.core.contract import Tensor
from twingrad.core.module import Module, apply
from twingrad.core.spec import Array, LayerSpec


def tanh(x: Array) -> Array:
    # expm1 keeps small x exact, and its argument is never positive, so it never overflows.
    e = _expm1(-2 * absolute(x))
    return np.asarray(np.where(x.real < 0, 1, -1) * (e / (e + 2)))


def _expm1(x: Array) -> Array:
    # To first order in ih, with the real part as exact as expm1 makes it.
    if not np.iscomplexobj(x):
        return np.expm1(x)
    return np.asarray(np.expm1(x.real) + 1j * (np.exp(x.real) * x.imag))


SPEC = LayerSpec(
    name="tanh",
    formula="y = (e^x - e^-x) / (e^x + e^-x)",
    inputs={"x": "..."},
    output="...",
    source="DLMF 4.28.4",
    definition=tanh,
    meaning="finite in, finite out, without a warning",
)
register_layer(SPEC)


class Tanh(Module):
    """Hyperbolic tangent of each element."""

    def forward(self, x: Any) -> Tensor:
        return apply(self, "tanh", {"x": x})
