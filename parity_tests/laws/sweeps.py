"""A function of one variable as a sweep of all floats sees it: its truth, range and order.

The truth is written with PyTorch's float64 functions, in other forms than the NumPy kernels use,
and is itself checked against mpmath: on a sample by a law, and at every witness of a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from twingrad.core.spec import LayerSpec

INF = math.inf

Truth = Callable[[Tensor], Tensor]
Formula = Callable[[Any], Any]


@dataclass(frozen=True)
class Direction:
    """The output or the gradient of a function: its truth, its range, and where it only rises."""

    truth: Truth
    exact: Formula  # the same in mpmath
    low: float = -INF
    high: float = INF
    # +1 or -1 on each interval: there the values never fall, or never rise.
    monotone: tuple[tuple[float, float, int], ...] = ()
    positive: bool = False  # True: defined for positive x and +0 alone
    # True: next to a zero the truth is a difference of larger numbers, or a kernel has no digit.
    truth_cancels: bool = False
    kernel_cancels: bool = False


@dataclass(frozen=True)
class Function:
    """One layer as a function of one float."""

    name: str
    spec: LayerSpec
    y: Direction
    grad: Direction
    settings: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)  # other inputs, one number everywhere
    positive: bool = False  # True: a real number for positive x alone

    @property
    def directions(self) -> dict[str, Direction]:
        return {"y": self.y, "grad_x": self.grad}


EVERYWHERE = ((-INF, INF, 1),)
BELL = ((-INF, 0.0, 1), (0.0, INF, -1))
RISING, FALLING = ((0.0, INF, 1),), ((0.0, INF, -1),)
