"""A training step of a multilayer perceptron: forward, loss, backward, AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from twingrad.benchmarks.measure import Benchmark, Call, prepare_each
from twingrad.benchmarks.peers.choice import prepare_peers
from twingrad.core.build import build
from twingrad.core.layers import BCEWithLogitsLoss, Linear, Tanh
from twingrad.core.module import Module, Sequential
from twingrad.core.optimizers import AdamW
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array

SEED = 0
TRAFFIC = 6  # times AdamW reads or writes each parameter: it and both moments, in and out

# Of each size: the widths of the layers, and the rows of a batch.
NETS = {
    "small": (((2, 5, 3, 1), 50),),
    "medium": (((2, 5, 3, 1), 50), ((30, 256, 256, 1), 256)),
    "large": (((2, 5, 3, 1), 50), ((30, 256, 256, 1), 256), ((784, 1024, 1024, 1), 512)),
}
MAKERS = {
    "torch-plain": "torch_mlp:plain",
    "torch-fused": "torch_mlp:fused",
    "torch-compile": "torch_mlp:compiled",
    "jax": "jax_mlp:step",
    "autograd": "autograd_mlp:step",
    "mygrad": "mygrad_mlp:step",
    "tinygrad": "tinygrad_mlp:step",
}


@dataclass(frozen=True)
class MlpWork:
    """The widths of a network of linear layers with tanh between them, and its batch."""

    widths: tuple[int, ...]
    batch: int
    dtype: str

    @property
    def flops(self) -> float:
        """What the matrix products need: forward, and one for each gradient; the data gets none."""
        sizes = [fan_in * fan_out for fan_in, fan_out in pairwise(self.widths)]
        return 2.0 * self.batch * (3 * sum(sizes) - sizes[0])

    @property
    def bytes(self) -> float:
        """What AdamW has to read and write."""
        count = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.widths))
        return float(TRAFFIC * count * np.dtype(self.dtype).itemsize)


def benchmarks(
    size: str, dtype: str, backends: tuple[str, ...], peers: tuple[str, ...] = ()
) -> Iterator[Benchmark]:
    """Yield a step of each net, from the same first weights in every library."""
    for widths, batch in NETS[size]:
        work = MlpWork(widths, batch, dtype)
        yield Benchmark(
            suite="mlp",
            name=f"mlp {'-'.join(map(str, widths))} step",
            work=f"{dtype}, batch {batch}",
            prepare=prepare_each(partial(twingrad_step, work), backends)
            | prepare_peers(MAKERS, peers, work),
            flops=work.flops,
            bytes=work.bytes,
        )


def net(widths: tuple[int, ...]) -> Module:
    """Return linear layers of these widths with tanh between them."""
    parts: list[Module] = []
    for fan_in, fan_out in pairwise(widths):
        parts += [Linear(fan_in, fan_out), Tanh()]
    return Sequential(*parts[:-1])


def first_weights(work: MlpWork) -> dict[str, Array]:
    """Return the weights that every library starts from: weight and bias of each layer in turn."""
    model = build(net(work.widths), backend="numpy", seed=SEED, dtype=work.dtype)
    weights: dict[str, Array] = model.state_dict()
    return weights


def draw_batch(work: MlpWork) -> tuple[Array, Array]:
    """Return x (batch, features) and targets 0 or 1 (batch, 1), the same every time."""
    generator = np.random.default_rng(SEED)
    x = generator.standard_normal((work.batch, work.widths[0])).astype(work.dtype)
    return x, generator.integers(0, 2, (work.batch, 1)).astype(work.dtype)


def twingrad_step(work: MlpWork, backend_name: str) -> Call:
    """Return what takes a training step on one of twingrad's backends and returns its loss."""
    backend = load_backend(backend_name)
    model: Any = build(net(work.widths), backend=backend_name, seed=SEED, dtype=work.dtype)
    loss_fn, optimizer = BCEWithLogitsLoss(), AdamW(model.parameters())
    x, target = (backend.tensor(array) for array in draw_batch(work))

    def step() -> Any:
        loss = loss_fn(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step
