"""The functions of one variable that are swept whole, and their values in float64.

The truth is written with PyTorch's float64 functions, in other forms than the NumPy kernels use,
and is itself checked against mpmath: on a sample by a law, and at every witness of a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath
import torch
from torch import Tensor

from twingrad.core.calls import layer
from twingrad.core.spec import LayerSpec

CUBIC = 0.044715
SLOPE = math.sqrt(2 / math.pi)
INF = math.inf
# Extremes of the two GELUs and of the exact one's gradient, found with mpmath in 30 digits.
LEAST_GELU, LEAST_GELU_OF_TANH = -0.16997120747990366, -0.17004075057125405
LEAST_SLOPE, LARGEST_SLOPE = -0.12890414518515479, 1.1289041451851548
LEAST_SLOPE_OF_TANH, LARGEST_SLOPE_OF_TANH = -0.12899306865877176, 1.1289930686587718

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


@dataclass(frozen=True)
class Function:
    """One layer as a function of one float."""

    name: str
    spec: LayerSpec
    y: Direction
    grad: Direction
    settings: dict[str, Any] = field(default_factory=dict)
    target: float | None = None

    @property
    def directions(self) -> dict[str, Direction]:
        return {"y": self.y, "grad_x": self.grad}


def _phi(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _cdf(x: Tensor) -> Tensor:
    return torch.erfc(-x / math.sqrt(2)) / 2


def _gelu(x: Tensor) -> Tensor:
    return torch.where(x < -60, 0.0, x * _cdf(x))


def _gelu_slope(x: Tensor) -> Tensor:
    near = x.clamp(-60, 60)
    return _cdf(near) + near * _phi(near)


def _gate(x: Tensor) -> Tensor:
    return torch.sigmoid(2 * SLOPE * (x + CUBIC * x**3))


def _gelu_of_tanh(x: Tensor) -> Tensor:
    return torch.where(x < -60, 0.0, x * _gate(x))


def _gelu_of_tanh_slope(x: Tensor) -> Tensor:
    near = x.clamp(-60, 60)
    u = SLOPE * (near + CUBIC * near**3)
    inner = 2 * SLOPE * (1 + 3 * CUBIC * near**2)
    return torch.sigmoid(2 * u) + near * inner * torch.sigmoid(2 * u) * torch.sigmoid(-2 * u)


def _softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def _exact_gate(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-2 * _exact_u(x)))


def _exact_u(x: Any) -> Any:
    return mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf(CUBIC) * x**3)


def _exact_gelu_of_tanh_slope(x: Any) -> Any:
    gate = _exact_gate(x)
    inner = 2 * mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * mpmath.mpf(CUBIC) * x**2)
    return gate + x * inner * gate / (1 + mpmath.exp(2 * _exact_u(x)))


def _exact_sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def _elementwise(
    name: str, y: Direction, grad: Direction, layer_name: str = "", **settings: Any
) -> Function:
    return Function(name, layer(layer_name or name), y, grad, settings)


def _bce(target: float, y: Direction, grad: Direction) -> Function:
    name = f"bce_with_logits, target {target:g}"
    return Function(name, layer("bce_with_logits"), y, grad, {"reduction": "none"}, target)


EVERYWHERE = ((-INF, INF, 1),)
BELL = ((-INF, 0.0, 1), (0.0, INF, -1))
RISING, FALLING = ((0.0, INF, 1),), ((0.0, INF, -1),)

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        _elementwise(
            "tanh",
            Direction(torch.tanh, mpmath.tanh, -1, 1, EVERYWHERE),
            Direction(lambda x: 1 / torch.cosh(x) ** 2, lambda x: mpmath.sech(x) ** 2, 0, 1, BELL),
        ),
        _elementwise(
            "sigmoid",
            Direction(torch.sigmoid, _exact_sigmoid, 0, 1, EVERYWHERE),
            Direction(
                lambda x: torch.sigmoid(x) * torch.sigmoid(-x),
                lambda x: _exact_sigmoid(x) * _exact_sigmoid(-x),
                0,
                0.25,
                BELL,
            ),
        ),
        _elementwise(
            "relu",
            Direction(
                lambda x: x.clamp(min=0), lambda x: max(x, mpmath.mpf(0)), 0, INF, EVERYWHERE
            ),
            Direction(
                lambda x: (~(x <= 0)).double(), lambda x: mpmath.mpf(int(x > 0)), 0, 1, EVERYWHERE
            ),
        ),
        _elementwise(
            "gelu",
            Direction(
                _gelu,
                lambda x: x * mpmath.ncdf(x),
                LEAST_GELU,
                INF,
                ((-INF, -0.752, -1), (-0.7517, INF, 1)),
            ),
            Direction(
                _gelu_slope,
                lambda x: mpmath.ncdf(x) + x * mpmath.npdf(x),
                LEAST_SLOPE,
                LARGEST_SLOPE,
                ((-INF, -1.415, -1), (-1.414, 1.414, 1), (1.415, INF, -1)),
            ),
        ),
        _elementwise(
            "gelu, tanh",
            Direction(
                _gelu_of_tanh,
                lambda x: x * _exact_gate(x),
                LEAST_GELU_OF_TANH,
                INF,
                ((-INF, -0.753, -1), (-0.7525, INF, 1)),
            ),
            Direction(
                _gelu_of_tanh_slope,
                _exact_gelu_of_tanh_slope,
                LEAST_SLOPE_OF_TANH,
                LARGEST_SLOPE_OF_TANH,
            ),
            "gelu",
            approximate="tanh",
        ),
        _bce(
            0.0,
            Direction(_softplus, lambda x: mpmath.log1p(mpmath.exp(x)), 0, INF, EVERYWHERE),
            Direction(torch.sigmoid, _exact_sigmoid, 0, 1, EVERYWHERE),
        ),
        _bce(
            1.0,
            Direction(
                lambda x: _softplus(-x),
                lambda x: mpmath.log1p(mpmath.exp(-x)),
                0,
                INF,
                ((-INF, INF, -1),),
            ),
            Direction(
                lambda x: -torch.sigmoid(-x), lambda x: -_exact_sigmoid(-x), -1, 0, EVERYWHERE
            ),
        ),
        _elementwise(
            "exp",
            Direction(torch.exp, mpmath.exp, 0, INF, EVERYWHERE),
            Direction(torch.exp, mpmath.exp, 0, INF, EVERYWHERE),
        ),
        _elementwise(
            "log",
            Direction(torch.log, mpmath.log, monotone=RISING),
            Direction(lambda x: 1 / x, lambda x: 1 / x, 0, INF, FALLING, positive=True),
        ),
        _elementwise(
            "sqrt",
            Direction(torch.sqrt, mpmath.sqrt, 0, INF, RISING),
            Direction(
                lambda x: 0.5 / torch.sqrt(x),
                lambda x: 1 / (2 * mpmath.sqrt(x)),
                0,
                INF,
                FALLING,
                positive=True,
            ),
        ),
    )
}
