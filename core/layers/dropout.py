"""Dropout: y = x / (1 - p) where keep, else 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.arguments import check_setting
from twingrad.core.catalogue import register_layer, spec_of
from twingrad.core.contract import Tensor
from twingrad.core.module import Module, apply, draw_keep
from twingrad.core.random import Draws
from twingrad.core.spec import Array, LayerSpec, Number


def dropout(x: Array, keep: Array, p: float = 0.5) -> Array:
    # At p = 1 nothing is kept, and 1 / (1 - p) is never looked at.
    multiplier = 1 / (1 - p) if p < 1 else 0.0
    return np.where(np.logical_and(keep, p < 1), x * multiplier, 0)


SPEC = LayerSpec(
    name="dropout",
    formula="y = x / (1 - p) where keep, else 0",
    inputs={"x": "...", "keep": "..."},
    booleans=("keep",),
    output="...",
    source="Srivastava et al. 2014, JMLR 15:1929, section 10",
    definition=dropout,
    settings={"p": Number(0.5, low=0.0, high=1.0)},
    meaning="keep is drawn outside; 1 / (1 - p) is rounded to the dtype; dropped is exactly 0",
)
register_layer(SPEC)


class Dropout(Module):
    """In training, each element is 0 with probability p, and the others are scaled up."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        check_setting(spec_of("dropout"), "p", p)
        self.p = p
        self.draws = Draws(0, "dropout")

    def forward(self, x: Any) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = draw_keep(self, x, tuple(x.shape), self.p)
        return apply(self, "dropout", {"x": x, "keep": keep}, p=self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
