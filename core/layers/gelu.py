"""GELU: y = x * Phi(x), or its approximation by tanh."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting
from twingrad.core.catalogue import register_layer, spec_of
from twingrad.core.contract import Tensor
from twingrad.core.layers.sigmoid import sigmoid
from twingrad.core.module import Module, apply
from twingrad.core.spec import Array, Choice, LayerSpec

CUBIC = 0.044715  # of the approximation by tanh


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        # 0.5 (1 + tanh(z)) is sigmoid(2z), without the cancellation at negative z.
        slope = np.sqrt(np.real(x).dtype.type(8) / _pi(x))
        gate = sigmoid(slope * (x + CUBIC * x**3))
    else:
        gate = _normal_cdf(x)
    # Where the gate has closed, the product is 0 even at -inf; where it is open, +inf stays.
    return np.where(gate == 0, 0, x * np.where(np.isposinf(x.real), 1, gate))


def _normal_cdf(x: Array) -> Array:
    """Return Phi(x) = erfc(-x / sqrt(2)) / 2, to full relative accuracy in the left tail."""
    real = np.real(x)
    # Beyond 160 the tail is 0 in every precision, and at infinity inf * 0 would be none.
    z = np.minimum(np.abs(real), 160) / np.sqrt(real.dtype.type(2))
    tail = _erfc(z) / 2
    cdf = np.where(real < 0, tail, 1 - tail)
    if not np.iscomplexobj(x):
        return np.asarray(cdf)
    density = np.exp(-z * z) / np.sqrt(2 * _pi(x))
    return np.asarray(cdf + 1j * (density * x.imag))


def _erfc(z: Array) -> Array:
    """Return erfc(z) for z >= 0 by the trapezoidal rule for its integral over the real line.

    With step h the rule errs by exp(-(pi/h)^2), once the pole at t = iz is corrected for
    (Hunter and Regan 1972, doi:10.1090/S0025-5718-1972-0303685-5).
    """
    h = z.dtype.type(0.4375)
    pi = _pi(z)
    total = np.zeros_like(z)
    # Nodes between the pole's mirror images: midpoints where z is near a node, nodes elsewhere.
    midpoints = np.abs(z / h - np.round(z / h)) < 0.25
    for n in range(32):
        t = h * (n + np.where(midpoints, z.dtype.type(0.5), z.dtype.type(0)))
        term = np.exp(-t * t) / (z * z + t * t + (z == 0))
        total += np.where((n == 0) & ~midpoints, 1, 2) * term
    value = h * z / pi * np.exp(-z * z) * total
    # Beyond exponent 60 the correction is far below the last digit of the value.
    grow = np.exp(np.minimum(2 * pi * z / h, 60))
    correction = np.where(
        grow < np.exp(h.dtype.type(59)), 2 / np.where(midpoints, grow + 1, 1 - grow), 0
    )
    return np.where(z == 0, 1, value + correction)


def _pi(x: Array) -> Any:
    return 4 * np.arctan(np.real(x).dtype.type(1))


SPEC = LayerSpec(
    name="gelu",
    formula="y = x * Phi(x), Phi the normal distribution function",
    inputs={"x": "..."},
    output="...",
    source="Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2",
    definition=gelu,
    settings={"approximate": Choice("none", ("none", "tanh"))},
    meaning=(
        f"none is exact (erf); tanh is x (1 + tanh(sqrt(2/pi) (x + {CUBIC} x^3))) / 2; "
        "+inf gives inf with gradient 1, -inf gives 0 with gradient 0"
    ),
)
register_layer(SPEC)


class GELU(Module):
    """Each element times the chance that a normal variable is below it; or the tanh form."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        check_setting(spec_of("gelu"), "approximate", approximate)
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return apply(self, "gelu", {"x": x}, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"
