"""sgd in the benchmarks: as it is called without settings, and with those that make it do more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twingrad.benchmarks.pages import Variant

VARIANTS = (Variant(), Variant("momentum", settings={"momentum": 0.9, "weight_decay": 1e-4}))


def torch_plain() -> Callable[..., Any]:
    from torch.optim import SGD

    return SGD


def torch_fused() -> Callable[..., Any]:
    return partial(torch_plain(), fused=True)
