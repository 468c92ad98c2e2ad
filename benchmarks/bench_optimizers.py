"""Every optimizer: one step over the parameters of a few layers of a transformer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from twingrad.benchmarks.measure import Call, Case, prepare_each
from twingrad.core.backend import load_backend
from twingrad.core.optimizer import SGD, AdamW, Optimizer

SEED = 0

# Of each size: how many blocks, and the width of one. A block has two matrices and two vectors.
BLOCKS = {"small": (2, 32), "medium": (2, 384), "large": (2, 1120)}

# Every optimizer as it is called without settings, and with those that make it do more.
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "adamw": (AdamW, {}),
    "adamw amsgrad": (AdamW, {"amsgrad": True}),
    "sgd": (SGD, {}),
    "sgd momentum": (SGD, {"momentum": 0.9, "weight_decay": 1e-4}),
}


def time_step(optimizer: Optimizer) -> None:
    """Change every parameter by its gradient."""
    optimizer.step()


def cases(size: str, dtype: str, backends: tuple[str, ...]) -> Iterator[Case]:
    """Yield one step of every optimizer."""
    shapes = parameter_shapes(size)
    count = sum(int(np.prod(shape)) for shape in shapes)
    for label, (optimizer, settings) in OPTIMIZERS.items():
        yield Case(
            suite="optimizers",
            name=f"{label} step",
            work=f"{dtype}, {count} parameters in {len(shapes)} arrays",
            prepare=prepare_each(partial(_step, optimizer, settings, shapes, dtype), backends),
        )


def parameter_shapes(size: str) -> list[tuple[int, ...]]:
    """Return the shapes of the parameters: widening and narrowing matrices with their biases."""
    blocks, width = BLOCKS[size]
    return [(4 * width, width), (4 * width,), (width, 4 * width), (width,)] * blocks


def parameters(shapes: list[tuple[int, ...]], dtype: str, backend_name: str) -> list[Any]:
    """Return drawn parameters, each with a drawn gradient, on one backend."""
    backend = load_backend(backend_name)
    generator = np.random.default_rng(SEED)
    params = []
    for shape in shapes:
        values, grad = generator.standard_normal((2, *shape)).astype(dtype)
        param = backend.tensor(values, requires_grad=True)
        param.grad = backend.tensor(grad)
        params.append(param)
    return params


def _step(
    optimizer: type[Optimizer],
    settings: dict[str, Any],
    shapes: list[tuple[int, ...]],
    dtype: str,
    backend: str,
) -> Call:
    return partial(time_step, optimizer(parameters(shapes, dtype, backend), **settings))
