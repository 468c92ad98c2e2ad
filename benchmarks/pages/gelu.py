"""gelu in the benchmarks: in both of its forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twingrad.benchmarks.pages import Variant

VARIANTS = (Variant(), Variant("tanh", settings={"approximate": "tanh"}))


def torch_plain() -> Callable[..., Any]:
    from torch.nn import functional as F

    return F.gelu


def jax() -> Callable[..., Any]:
    from jax import nn

    return lambda x, approximate="none": nn.gelu(x, approximate=approximate == "tanh")
