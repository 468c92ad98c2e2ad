"""The optimizers of torch.optim, as it chooses to run them and as one kernel."""

from __future__ import annotations

import torch

from twingrad.benchmarks.bench_optimizers import Update, draw_parameters
from twingrad.benchmarks.measure import Call


def plain(update: Update, shapes: list[tuple[int, ...]], dtype: str) -> Call:
    """Return one step of the optimizer of the same name."""
    return _step(update, shapes, dtype)


def fused(update: Update, shapes: list[tuple[int, ...]], dtype: str) -> Call:
    """Return the same step as one kernel."""
    return _step(update, shapes, dtype, fused=True)


def _step(update: Update, shapes: list[tuple[int, ...]], dtype: str, **how: bool) -> Call:
    params = []
    for values, grad in draw_parameters(shapes, dtype):
        param = torch.from_numpy(values).requires_grad_()
        param.grad = torch.from_numpy(grad)
        params.append(param)
    optimizer = getattr(torch.optim, update.optimizer.__name__)(params, **update.settings, **how)
    step: Call = optimizer.step
    return step
