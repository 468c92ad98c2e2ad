"""tanh in the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def torch_plain() -> Callable[..., Any]:
    import torch

    return torch.tanh


def jax() -> Callable[..., Any]:
    import jax.numpy as jnp

    return jnp.tanh
