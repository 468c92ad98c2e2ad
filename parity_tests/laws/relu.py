"""What the laws must know of ReLU."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from twingrad.core.layers.relu import SPEC
from twingrad.core.spec import Array, Settings
from twingrad.parity_tests.judge.case import EVERYTHING
from twingrad.parity_tests.laws.roundings import EXACT, Weights
from twingrad.parity_tests.laws.sweeps import EVERYWHERE, INF, Direction, Function


def bound(g: Array, x: Array) -> Weights:
    return {"y": EXACT, "grad_x": EXACT}


def truth(x: Array) -> Any:
    return np.where(x > 0, x, x * 0)


DOMAINS = {"x": EVERYTHING}
KINKS = (0.0,)
INTEGERS: Settings = {}
SWEEPS = (
    Function(
        "relu",
        SPEC,
        Direction(lambda x: x.clamp(min=0), lambda x: max(x, mpmath.mpf(0)), 0, INF, EVERYWHERE),
        Direction(
            lambda x: (~(x <= 0)).double(), lambda x: mpmath.mpf(int(x > 0)), 0, 1, EVERYWHERE
        ),
    ),
)
