"""Every optimizer: one step over the parameters of a few layers of a transformer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from twingrad.benchmarks.measure import Call, Case, prepare_each
from twingrad.benchmarks.peers.choice import prepare_peers
from twingrad.core.optimizers import SGD, AdamW, Optimizer
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array

SEED = 0

# Of each size: how many blocks, and the width of one. A block has two matrices and two vectors.
BLOCKS = {"small": (2, 32), "medium": (2, 384), "large": (2, 792)}


class Update(NamedTuple):
    """An optimizer with settings, and how often it reads or writes an array at the least."""

    optimizer: type[Optimizer]
    settings: dict[str, Any]
    traffic: int  # of weight and gradient, and each array of the state in and out


# Every optimizer as it is called without settings, and with those that make it do more.
OPTIMIZERS = {
    "adamw": Update(AdamW, {}, 7),
    "adamw amsgrad": Update(AdamW, {"amsgrad": True}, 9),
    "sgd": Update(SGD, {}, 3),
    "sgd momentum": Update(SGD, {"momentum": 0.9, "weight_decay": 1e-4}, 5),
}
MAKERS = {
    "torch-plain": "torch_optimizers:plain",
    "torch-fused": "torch_optimizers:fused",
}


def cases(
    size: str, dtype: str, backends: tuple[str, ...], peers: tuple[str, ...] = ()
) -> Iterator[Case]:
    """Yield one step of every optimizer."""
    shapes = parameter_shapes(size)
    count = sum(map(math.prod, shapes))
    for label, update in OPTIMIZERS.items():
        yield Case(
            suite="optimizers",
            name=f"{label} step",
            work=f"{dtype}, {count} parameters in {len(shapes)} arrays",
            prepare=prepare_each(partial(_step, update, shapes, dtype), backends)
            | prepare_peers(MAKERS, peers, update, shapes, dtype),
            bytes=float(update.traffic * count * np.dtype(dtype).itemsize),
        )


def parameter_shapes(size: str) -> list[tuple[int, ...]]:
    """Return the shapes of the parameters: widening and narrowing matrices with their biases."""
    blocks, width = BLOCKS[size]
    return [(4 * width, width), (4 * width,), (width, 4 * width), (width,)] * blocks


def draw_parameters(shapes: list[tuple[int, ...]], dtype: str) -> list[tuple[Array, Array]]:
    """Return values and a gradient for each parameter, the same every time."""
    generator = np.random.default_rng(SEED)
    pairs = (generator.standard_normal((2, *shape)).astype(dtype) for shape in shapes)
    return [(values, grad) for values, grad in pairs]


def parameters_on(backend_name: str, shapes: list[tuple[int, ...]], dtype: str) -> list[Any]:
    """Return the drawn parameters with their gradients on one backend."""
    backend = load_backend(backend_name)
    params = []
    for values, grad in draw_parameters(shapes, dtype):
        param = backend.tensor(values, requires_grad=True)
        param.grad = backend.tensor(grad)
        params.append(param)
    return params


def _step(update: Update, shapes: list[tuple[int, ...]], dtype: str, backend: str) -> Call:
    return update.optimizer(parameters_on(backend, shapes, dtype), **update.settings).step
