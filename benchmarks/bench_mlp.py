"""A training step of a multilayer perceptron: forward, loss, backward, AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from twingrad.benchmarks.measure import Call, Case
from twingrad.core.backend import load_backend
from twingrad.core.build import build
from twingrad.core.module import BCEWithLogitsLoss, Linear, Module, Sequential, Tanh
from twingrad.core.optimizer import AdamW
from twingrad.core.spec import Array

SEED = 0

# Of each size: the widths of the layers, and the rows of a batch.
NETS = {
    "small": (((2, 5, 3, 1), 50),),
    "medium": (((2, 5, 3, 1), 50), ((30, 256, 256, 1), 256)),
    "large": (((2, 5, 3, 1), 50), ((30, 256, 256, 1), 256), ((784, 1024, 1024, 1), 512)),
}


@dataclass(frozen=True)
class Training:
    """A model with what one step of its training needs, all of it on one backend."""

    model: Any
    loss_fn: Any
    optimizer: Any
    x: Any  # (batch, in)
    target: Any  # (batch, 1)


def time_step(training: Training) -> None:
    """Take one training step."""
    loss = training.loss_fn(training.model(training.x), training.target)
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()


def cases(size: str, dtype: str, backends: tuple[str, ...]) -> Iterator[Case]:
    """Yield a step of each net; beside torch as twingrad runs it also plain torch.nn."""
    for widths, batch in NETS[size]:
        prepare: dict[str, Any] = {}
        for backend in backends:
            prepare[backend] = partial(_twingrad_step, widths, batch, dtype, backend)
        if "torch" in backends:
            prepare["torch-plain"] = partial(_plain_torch_step, widths, batch, dtype)
        name = "-".join(map(str, widths))
        yield Case("mlp", f"mlp {name} step", f"{dtype}, batch {batch}", prepare)


def net(widths: tuple[int, ...]) -> Module:
    """Return linear layers of these widths with tanh between them."""
    parts: list[Module] = []
    for fan_in, fan_out in pairwise(widths):
        parts += [Linear(fan_in, fan_out), Tanh()]
    return Sequential(*parts[:-1])


def training_on(backend_name: str, widths: tuple[int, ...], batch: int, dtype: str) -> Training:
    """Return a model of twingrad on one backend, ready to be trained."""
    backend = load_backend(backend_name)
    model = build(net(widths), backend=backend_name, seed=SEED, dtype=dtype)
    x, target = (backend.tensor(array) for array in draw_batch(widths[0], batch, dtype))
    return Training(model, BCEWithLogitsLoss(), AdamW(model.parameters()), x, target)


def plain_torch_training(widths: tuple[int, ...], batch: int, dtype: str) -> Training:
    """Return the same model in torch.nn alone, from the same first weights."""
    import torch

    parts: list[torch.nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        parts += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
    model = torch.nn.Sequential(*parts[:-1]).to(getattr(torch, dtype))
    weights = build(net(widths), backend="numpy", seed=SEED, dtype=dtype).state_dict()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    x, target = (torch.from_numpy(array) for array in draw_batch(widths[0], batch, dtype))
    optimizer = torch.optim.AdamW(model.parameters())
    return Training(model, torch.nn.BCEWithLogitsLoss(), optimizer, x, target)


def draw_batch(features: int, batch: int, dtype: str) -> tuple[Array, Array]:
    """Return x (batch, features) and targets 0 or 1 (batch, 1), the same every time."""
    generator = np.random.default_rng(SEED)
    x = generator.standard_normal((batch, features)).astype(dtype)
    return x, generator.integers(0, 2, (batch, 1)).astype(dtype)


def _twingrad_step(widths: tuple[int, ...], batch: int, dtype: str, backend: str) -> Call:
    return partial(time_step, training_on(backend, widths, batch, dtype))


def _plain_torch_step(widths: tuple[int, ...], batch: int, dtype: str) -> Call:
    return partial(time_step, plain_torch_training(widths, batch, dtype))
