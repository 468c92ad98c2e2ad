"""An optimizer in plain torch, whatever the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from twingrad.benchmarks.bench_optimizers import OptimizerWork, draw_parameters
from twingrad.benchmarks.measure import Call


def step(optimizer: Callable[..., Any], work: OptimizerWork) -> Call:
    """Return what takes a step."""
    params = []
    for values, grad in draw_parameters(work):
        param = torch.from_numpy(values).requires_grad_()
        param.grad = torch.from_numpy(grad)
        params.append(param)
    made: Call = optimizer(params, **work.variant.settings).step
    return made
