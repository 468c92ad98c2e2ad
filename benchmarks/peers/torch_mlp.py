"""The multilayer perceptron of the benchmarks in torch.nn alone."""

from __future__ import annotations

from itertools import pairwise

import torch

from twingrad.benchmarks.bench_mlp import MlpWork, draw_batch, first_weights
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.peers.torch_training import training_step


def plain(work: MlpWork) -> Call:
    """Return the step, eager, with the AdamW that torch chooses by itself."""
    return _step(work)


def fused(work: MlpWork) -> Call:
    """Return the step, eager, with AdamW as one kernel."""
    return _step(work, fused=True)


def compiled(work: MlpWork) -> Call:
    """Return the step through torch.compile, with AdamW as one kernel."""
    return _step(work, compile=True, fused=True)


def _step(work: MlpWork, **how: bool) -> Call:
    parts: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(work.widths):
        parts += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
    loss_fn = torch.nn.BCEWithLogitsLoss()
    x, target = (torch.from_numpy(array) for array in draw_batch(work))
    return training_step(
        torch.nn.Sequential(*parts[:-1]),
        first_weights(work),
        lambda forward: loss_fn(forward(x), target),
        **how,
    )
