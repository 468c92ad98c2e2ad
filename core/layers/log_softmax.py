"""LogSoftmax: y = x - log(sum(e^x)), over the last dimension."""

from __future__ import annotations

import numpy as np

from twingrad.core.catalogue import register_layer
from twingrad.core.spec import Array, LayerSpec


def log_softmax(x: Array) -> Array:
    top = np.max(x.real, axis=-1, keepdims=True, initial=-np.inf)
    # A row of -inf alone has no largest logit to shift by: every one of its logits stays -inf.
    shifted = x - np.where(np.isneginf(top), 0, top)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    log_total = np.log(np.where(total == 0, 1, total))
    # A NaN spoils its row, absent logits and all.
    absent = np.isneginf(x.real) & ~np.isnan(total.real)
    return np.where(absent, -np.inf, shifted - log_total)


SPEC = LayerSpec(
    name="log_softmax",
    formula="y = x - log(sum(e^x))",
    inputs={"x": "... n"},
    output="... n",
    source="torch.nn.functional.log_softmax",
    definition=log_softmax,
    meaning=(
        "over the last dimension; a logit of -inf is absent: its output is -inf, its gradient "
        "exactly 0, and what flows into that output goes nowhere"
    ),
)
register_layer(SPEC)
