"""adamw in the benchmarks: as it is called without settings, and with a further array of state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twingrad.benchmarks.pages import Variant

VARIANTS = (Variant(), Variant("amsgrad", settings={"amsgrad": True}))


def torch_plain() -> Callable[..., Any]:
    from torch.optim import AdamW

    return AdamW


def torch_fused() -> Callable[..., Any]:
    return partial(torch_plain(), fused=True)
