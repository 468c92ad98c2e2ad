"""A layer's call that every library is asked to make: its arrays, and the least it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twingrad.benchmarks.lengths import lengths_text
from twingrad.benchmarks.measure import Call
from twingrad.benchmarks.pages import KEPT, Variant, said_of
from twingrad.core.registry import load_backend
from twingrad.core.shapes import Lengths
from twingrad.core.spec import Array, Arrays, LayerSpec

SEED = 0


@dataclass(frozen=True)
class LayerWork:
    """A layer in one variant on arrays of these lengths, forward or forward and backward."""

    spec: LayerSpec
    variant: Variant
    lengths: Lengths
    dtype: str
    backward: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs that are given."""
        spec = self.spec
        return tuple(
            name
            for name in spec.inputs
            if name not in spec.optional or name in self.variant.optional
        )

    @property
    def leaves(self) -> tuple[str, ...]:
        """Those of them that get a gradient."""
        return tuple(name for name in self.names if name in self.spec.differentiable)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the call."""
        return self.spec.defaults() | dict(self.variant.settings)

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's shape; a loss is one number, unless it is that of each element."""
        leading = self.spec.output.removesuffix(" or scalar")
        is_loss = leading != self.spec.output and self.settings["reduction"] != "none"
        return () if is_loss else self._shape(leading)

    def draw_inputs(self) -> Arrays:
        """Return an array for each input, the same every time.

        Booleans are True with chance KEPT, labels are 0 or 1, all else is standard normal.
        """
        generator = np.random.default_rng(SEED)
        return {name: self._draw(generator, name).astype(self._dtype(name)) for name in self.names}

    def draw_grad_y(self) -> Array:
        """Return an upstream gradient, the same every time; that of a loss is 1."""
        if not self.shape:
            return np.ones((), self.dtype)
        return np.random.default_rng(SEED + 1).standard_normal(self.shape).astype(self.dtype)

    @property
    def flops(self) -> float:
        """What the matrix products need: a forward, and backward as much for each operand."""
        flops = said_of(self.spec.name, "flops")
        if flops is None:
            return 0.0
        return float(flops(self.lengths, self.settings)) * (3 if self.backward else 1)

    @property
    def bytes(self) -> float:
        """What has to be read and written: inputs and y once, and gradients once."""
        y = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        total = y + sum(
            # Of a table only the rows that are looked up have to be read.
            y if self.spec.indices and name == "weight" else self._bytes(name)
            for name in self.names
        )
        if self.backward:
            total += y + sum(map(self._bytes, self.leaves))
        return float(total)

    def __str__(self) -> str:
        return f"{self.dtype}, {lengths_text(self.lengths)}"

    def _bytes(self, name: str) -> int:
        shape = self._shape(self.spec.inputs[name])
        return math.prod(shape) * np.dtype(self._dtype(name)).itemsize

    def _dtype(self, name: str) -> str:
        spec = self.spec
        return "bool" if name in spec.booleans else "int64" if name in spec.indices else self.dtype

    def _shape(self, text: str) -> tuple[int, ...]:
        return tuple(length for dim in text.split() for length in self.lengths[dim])

    def _draw(self, generator: np.random.Generator, name: str) -> Array:
        spec, shape = self.spec, self._shape(self.spec.inputs[name])
        if name in spec.indices:
            return generator.integers(0, self.lengths[spec.indices[name]][0], shape)
        if name in spec.booleans:
            return generator.random(shape) < KEPT
        if name in spec.labels:
            return generator.integers(0, 2, shape)
        normal = generator.standard_normal(shape)
        # A weight matrix is scaled as it is in a model, so that outputs are of the size of inputs.
        return normal / math.sqrt(shape[-1]) if name == "weight" and len(shape) > 1 else normal


def twingrad_call(work: LayerWork, backend_name: str) -> Call:
    """Return what runs the layer on the tape, as training does, and its backward if that is asked.

    It returns y, or the gradients of the inputs that get one.
    """
    backend = load_backend(backend_name)
    tensors = {
        name: backend.tensor(array, requires_grad=name in work.leaves)
        for name, array in work.draw_inputs().items()
    }
    if not work.backward:
        return lambda: backend.apply(work.spec, tensors, work.settings)
    grad_y = backend.tensor(work.draw_grad_y())

    def forward_backward() -> Sequence[Any]:
        backend.apply(work.spec, tensors, work.settings).backward(grad_y)
        return take_gradients([tensors[name] for name in work.leaves])

    return forward_backward


def take_gradients(leaves: Sequence[Any]) -> Sequence[Any]:
    """Return each leaf's gradient, and leave none behind."""
    grads = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return grads
