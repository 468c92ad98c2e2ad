"""The multilayer perceptron of the benchmarks in torch.nn alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from twingrad.benchmarks.bench_mlp import MlpWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call


def plain(work: MlpWork) -> Call:
    """Return the step, eager, with the AdamW that torch chooses by itself."""
    return _step(work, compile=False, fused=False)


def fused(work: MlpWork) -> Call:
    """Return the step, eager, with AdamW as one kernel."""
    return _step(work, compile=False, fused=True)


def compiled(work: MlpWork) -> Call:
    """Return the step through torch.compile, with AdamW as one kernel."""
    return _step(work, compile=True, fused=True)


def _step(work: MlpWork, compile: bool, fused: bool) -> Call:
    parts: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(work.widths):
        parts += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
    model = torch.nn.Sequential(*parts[:-1]).to(getattr(torch, work.dtype))
    weights = {name: torch.from_numpy(array) for name, array in first_weights(work).items()}
    model.load_state_dict(weights)
    forward: Any = torch.compile(model) if compile else model
    # None, and not False, lets torch choose between its other two ways.
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused or None)
    loss_fn = torch.nn.BCEWithLogitsLoss()
    x, target = (torch.from_numpy(array) for array in draw_batch(work))

    def step() -> Any:
        loss = loss_fn(forward(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step
