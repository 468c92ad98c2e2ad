"""dropout in the benchmarks: of booleans that were drawn before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twingrad.benchmarks.pages import KEPT, Variant

VARIANTS = (Variant(settings={"p": 1 - KEPT}),)


def torch_plain() -> Callable[..., Any]:
    return lambda x, keep, p: x * keep / (1 - p)  # torch's own function draws by itself


def jax() -> Callable[..., Any]:
    return lambda x, keep, p: x * keep / (1 - p)
