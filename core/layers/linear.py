"""Linear: y = x @ weight.T + bias."""

from __future__ import annotations

from typing import Any

from twingrad.core.catalogue import register_layer
from twingrad.core.contract import Tensor
from twingrad.core.module import Module, Parameter, apply, length_of
from twingrad.core.random import fan_in_uniform
from twingrad.core.spec import Array, LayerSpec


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y: Array = x @ weight.T
    return y if bias is None else y + bias


SPEC = LayerSpec(
    name="linear",
    formula="y = x @ weight.T + bias",
    inputs={"x": "... in", "weight": "out in", "bias": "out"},
    optional=("bias",),
    output="... out",
    source="torch.nn.functional.linear",
    definition=linear,
)
register_layer(SPEC)


class Linear(Module):
    """y = x @ weight.T + bias; weight (out_features, in_features), bias (out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = length_of("Linear", "in_features", in_features)
        self.out_features = length_of("Linear", "out_features", out_features)
        initial = fan_in_uniform(in_features)
        self.weight: Any = Parameter((out_features, in_features), initial)
        self.bias: Any = Parameter((out_features,), initial) if bias else None

    def forward(self, x: Any) -> Tensor:
        return apply(self, "linear", {"x": x, "weight": self.weight, "bias": self.bias})

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
