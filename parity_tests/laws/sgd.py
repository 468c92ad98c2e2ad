"""What the laws must know of SGD, and what only it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np

from twingrad.core.spec import Array, Settings
from twingrad.parity_tests.judge.recurrence import Recurrence
from twingrad.parity_tests.laws.drawn import Descent, cast, descents
from twingrad.parity_tests.laws.optimizers import same_path, trajectory
from twingrad.parity_tests.laws.roundings import roundings
from twingrad.parity_tests.laws.table import law


def size(path: Recurrence, grad: Array) -> Array:
    momentum, lr = path.settings["momentum"], path.settings["lr"]
    grad = np.abs(grad) + path.settings["weight_decay"] * np.abs(path.weight)
    sizes = path.sizes["momentum_buffer"] = momentum * path.sizes["momentum_buffer"] + grad
    memory = roundings(min(path.steps, 1 / (1 - momentum)))
    size: Array = (8 + 4 * memory) * lr * (sizes + grad)
    return size


SETTINGS = {
    "momentum": st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    "dampening": st.sampled_from([0.0, 0.1]),
}
WITHOUT_MEMORY: Settings = {"momentum": 0.0, "nesterov": False}


def compatible(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that go together: nesterov needs momentum, and no dampening."""
    if settings["nesterov"]:
        return settings | {"momentum": settings["momentum"] or 0.9, "dampening": 0.0}
    return settings


@law("sgd", "everything * 2^k is the same in that unit", draws=descents, exact=True)
def scale_is_kept(descent: Descent, backend: str) -> None:
    """Weights and gradients in another unit: the same path in that unit."""
    weights, _ = trajectory(descent, backend)
    for k in (-10, 9):
        factor = cast(2.0**k, descent.weight.dtype)
        start = replace(descent, weight=descent.weight * factor, grads=descent.grads * factor)
        expected = [weight * factor for weight in weights]
        same_path(
            backend, f"the weight of everything * 2^{k}", trajectory(start, backend)[0], expected
        )
