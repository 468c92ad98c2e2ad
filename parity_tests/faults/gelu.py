"""Wrong kernels of gelu that the laws must catch."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import gelu
from twingrad.core.spec import Array
from twingrad.parity_tests.faults.table import fault


@fault("gelu", "forward", called="wrong constant")
def with_a_typing_error(x: Array, approximate: str = "none") -> tuple[Array, Any]:
    """The cubic's constant written as 0.44715."""
    y, saved = gelu.forward(x, approximate)
    if approximate == "tanh":
        u = np.sqrt(2 / np.pi) * (x + 0.44715 * x**3)
        y = (0.5 * x * (1 + np.tanh(u))).astype(x.dtype)
    return y, saved


@fault("gelu", "forward", breaks=("the selector selects",))
def of_one_form(x: Array, approximate: str = "none") -> tuple[Array, Any]:
    """Whatever is asked for, the approximation is given."""
    return gelu.forward(x, "tanh")


@fault("gelu", "forward", breaks=("the negative tail is negative, bit for bit",))
def by_one_plus_erf(x: Array, approximate: str = "none") -> tuple[Array, Any]:
    """1 - Phi(-x), of which nothing is left in the tail."""
    y, saved = gelu.forward(x, approximate)
    mirrored, _ = gelu.forward(-x, approximate)
    return np.where(np.abs(x) < 10, x + mirrored, y), saved
