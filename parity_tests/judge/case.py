"""What a law is tried on: one call of a layer, or an optimizer's walk; and ranges of inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec

SHOWN_ELEMENTS = 64  # of an array in a message; larger ones are abridged


@dataclass(frozen=True)
class Case:
    """One call of one layer, and the gradient that flows into its output."""

    spec: LayerSpec
    inputs: Arrays
    settings: dict[str, Any]
    grad_y: Array = field(default_factory=lambda: np.ones(()))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.grad_y.dtype

    def __repr__(self) -> str:
        with np.printoptions(threshold=SHOWN_ELEMENTS, precision=17, floatmode="unique"):
            lines = [f"{name} = {array!r}" for name, array in self.inputs.items()]
            lines += [f"{name} = {value!r}" for name, value in self.settings.items()]
            lines.append(f"grad_y = {self.grad_y!r}")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"Case of {self.spec.name}:\n{self!r}")


@dataclass(frozen=True)
class Walk:
    """Where an optimizer goes from a drawn weight, by drawn gradients, with some settings."""

    optimizer: OptimizerSpec
    dtype: str
    settings: dict[str, Any]
    seed: int  # of the weight and of all gradients

    def __repr__(self) -> str:
        return f"settings = {self.settings}\nseed = {self.seed}"


@dataclass(frozen=True)
class Domain:
    """The numbers that an input is drawn from: 0, and 2^lowest to 2^highest of either sign."""

    lowest: int
    highest: int
    positive: bool = False
    zero: bool = True


EVERYTHING = Domain(-1074, 1023)  # cut to what the dtype holds
# Products and sums of a few stay far from overflow and underflow. Beyond it a formula may overflow
# or lose all digits, and the contract ends: a logit of 1e30 says nothing about rounding.
ORDINARY = Domain(-20, 6)
