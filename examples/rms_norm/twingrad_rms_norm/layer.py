"""RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight."""

from __future__ import annotations

from typing import Any

import numpy as np

import twingrad as tg


def rms_norm(x: Any, weight: Any = None, eps: float = 1e-6) -> Any:
    mean_square = (x * x).sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
    y = x / np.sqrt(mean_square + eps)
    return y if weight is None else y * weight


SPEC = tg.LayerSpec(
    name="rms_norm",
    formula="y = x / sqrt(mean(x^2) + eps) * weight",
    inputs={"x": "... features", "weight": "features"},
    optional=("weight",),
    output="... features",
    source="Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4",
    definition=rms_norm,
    settings={"eps": tg.Number(1e-6, low=0.0)},
    meaning="eps is inside the root; a row of zeros gives 0, if eps > 0",
)
tg.register_layer(
    SPEC,
    pages={
        "numpy": "twingrad_rms_norm.numpy_backend",
        "torch": "twingrad_rms_norm.torch_backend",
        "laws": "twingrad_rms_norm.laws",
    },
)


class RMSNorm(tg.Module):
    """Rows of root mean square 1 over the last dimension, then scaled by weight (features)."""

    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.features = tg.length_of("RMSNorm", "features", features)
        tg.check_setting(SPEC, "eps", eps)
        self.eps = eps
        self.weight: Any = tg.Parameter((features,), tg.Constant(1.0))

    def forward(self, x: Any) -> Any:
        return tg.apply(self, "rms_norm", {"x": x, "weight": self.weight}, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps}"
