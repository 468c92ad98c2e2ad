"""Every optimizer: one step over the parameters of a few layers of a transformer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from twingrad.benchmarks.measure import Benchmark, Call, prepare_each
from twingrad.benchmarks.pages import Variant, supporting, variants_of
from twingrad.benchmarks.peers.choice import prepare_paged
from twingrad.core.catalogue import OPTIMIZERS
from twingrad.core.optimizers import Optimizer
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, OptimizerSpec

SEED = 0

# Of each size: how many blocks, and the width of one. A block has two matrices and two vectors.
BLOCKS = {"small": (2, 32), "medium": (2, 384), "large": (2, 792)}
MAKERS = {
    "torch-plain": "torch_optimizers:step",
    "torch-fused": "torch_optimizers:step",
}


@dataclass(frozen=True)
class OptimizerWork:
    """An optimizer in one variant, over parameters of these shapes."""

    spec: OptimizerSpec
    variant: Variant
    shapes: tuple[tuple[int, ...], ...]
    dtype: str

    @property
    def parameters(self) -> int:
        """How many numbers there are to be changed."""
        return sum(map(math.prod, self.shapes))

    @property
    def bytes(self) -> float:
        """What has to be read and written: the gradient; weight and state, in and out."""
        one = np.ones(1, self.dtype)
        settings = self.spec.defaults() | dict(self.variant.settings)
        empty = {name: np.zeros(1, self.dtype) for name in self.spec.state}
        _, state = self.spec.definition(one, one, empty, 1, **settings)
        return float((3 + 2 * len(state)) * self.parameters * one.itemsize)

    def __str__(self) -> str:
        return f"{self.dtype}, {self.parameters} parameters in {len(self.shapes)} arrays"


def benchmarks(
    size: str,
    dtype: str,
    backends: tuple[str, ...],
    peers: tuple[str, ...] = (),
    optimizers: Sequence[str] | None = None,
) -> Iterator[Benchmark]:
    """Yield one step of each variant of each of `optimizers`, on the backends that have it."""
    for name in OPTIMIZERS if optimizers is None else optimizers:
        having = supporting(name, dtype, backends)
        if not having:
            continue
        for label, variant in variants_of(name).items():
            work = OptimizerWork(OPTIMIZERS[name], variant, parameter_shapes(size), dtype)
            yield Benchmark(
                suite="optimizers",
                name=f"{label} step",
                work=str(work),
                prepare=prepare_each(partial(twingrad_step, work), having)
                | prepare_paged(MAKERS, peers, name, work),
                bytes=work.bytes,
            )


def parameter_shapes(size: str) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the parameters: widening and narrowing matrices with their biases."""
    blocks, width = BLOCKS[size]
    return ((4 * width, width), (4 * width,), (width, 4 * width), (width,)) * blocks


def draw_parameters(work: OptimizerWork) -> list[tuple[Array, Array]]:
    """Return values and a gradient for each parameter, the same every time."""
    generator = np.random.default_rng(SEED)
    pairs = (generator.standard_normal((2, *shape)).astype(work.dtype) for shape in work.shapes)
    return [(values, grad) for values, grad in pairs]


def twingrad_step(work: OptimizerWork, backend_name: str) -> Call:
    """Return what takes a step on one of twingrad's backends."""
    backend = load_backend(backend_name)
    params: list[Any] = []
    for values, grad in draw_parameters(work):
        param = backend.tensor(values, requires_grad=True)
        param.grad = backend.tensor(grad)
        params.append(param)

    class Measured(Optimizer):
        spec_name = work.spec.name

    return Measured(params, **work.variant.settings).step
