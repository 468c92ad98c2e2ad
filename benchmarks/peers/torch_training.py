"""A training step in torch.nn and torch.optim alone, whatever the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from twingrad.benchmarks.measure import Call
from twingrad.core.spec import Array


def training_step(
    model: torch.nn.Module,
    weights: Mapping[str, Array],
    loss_of: Callable[[Any], Any],
    *,
    compile: bool = False,
    fused: bool = False,
) -> Call:
    """Return what takes a step from these weights, in their dtype, and returns its loss.

    `loss_of` makes a loss of the model, or of what torch.compile made of it; `fused` is AdamW as
    one kernel, else torch chooses.
    """
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    model.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
    forward: Any = torch.compile(model) if compile else model
    # None, and not False, lets torch choose between its other two ways.
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused or None)

    def step() -> Any:
        loss = loss_of(forward)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step
