"""Flat memory: parameters and their optimizer's state, each in one array, stepped over in blocks.

Gradients stay where the backward left them: a block joins those that it needs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend import blocks
from twingrad.backends.numpy_backend.kernels import OPTIMIZERS
from twingrad.backends.numpy_backend.tensor import Tensor
from twingrad.core.spec import Array, OptimizerSpec, Settings

State = dict[Tensor, dict[str, Any]]  # of each parameter: "step" and views of the flat arrays
Step = Callable[..., tuple[str, ...]]


class FlatGroup:
    """Steps over a group of parameters, laid out anew whenever they are not where it put them."""

    def __init__(self, spec: OptimizerSpec) -> None:
        self.spec = spec
        self._settings: Settings | None = None
        self._names: tuple[str, ...] = ()  # of the arrays of the state
        self._parts: list[Flat] = []
        self._places: list[int] = []

    def __call__(self, params: Sequence[Tensor], state: State, settings: Settings) -> None:
        """Change every parameter that has a gradient, and its entry in `state`, in place."""
        kernel = OPTIMIZERS[self.spec.name]
        if settings != self._settings or self._places != _places(params, state, self._names):
            self._settings = settings
            self._lay_out(params, state, _used(kernel, self.spec.state, settings))
        with np.errstate(all="ignore"):
            for part in self._parts:
                part.advance(kernel, state, settings)
        self._places = _places(params, state, self._names)

    def _lay_out(self, params: Sequence[Tensor], state: State, used: tuple[str, ...]) -> None:
        """Move parameters, and what their state holds or will hold, to flat memory."""
        there = {*used, *(name for param in params for name in state.get(param, ()))}
        names = tuple(name for name in self.spec.state if name in there)
        if names == self._names and self._places == _places(params, state, names):
            return
        self._names = names
        parts = [list(part) for _, part in groupby(params, lambda param: param.dtype)]
        self._parts = [Flat(part, state, names) for part in parts]


class Flat:
    """Parameters of one dtype, which become views of one array, and their state in others."""

    def __init__(self, params: list[Tensor], state: State, names: tuple[str, ...]) -> None:
        self.params = params
        self.ends = [*accumulate(param.data.size for param in params)]
        old = {
            name: [state.get(param, {}).get(name, np.zeros_like(param.data)) for param in params]
            for name in names
        }
        self.weight, weights = _joined([param.data for param in params])
        for param, weight in zip(params, weights, strict=True):
            param.data = weight
        flat = {name: _joined(arrays) for name, arrays in old.items()}
        self.arrays = {name: array for name, (array, _) in flat.items()}
        views = {name: parts for name, (_, parts) in flat.items()}
        self.entries: list[dict[str, Any]] = [
            {"step": 0} | {name: views[name][number] for name in names}
            for number in range(len(params))
        ]
        for param, entry in zip(params, self.entries, strict=True):
            if param in state:
                entry["step"] = state[param]["step"]
                state[param] = entry

    def advance(self, kernel: Step, state: State, settings: Settings) -> None:
        """Take a step; neighbours of one step number with gradients are changed together."""
        steps = []
        for param, entry in zip(self.params, self.entries, strict=True):
            if param.grad is None:
                steps.append(0)
                continue
            if not entry["step"]:
                state[param] = entry
            entry["step"] += 1
            param.version += 1
            steps.append(entry["step"])
        start = 0
        for step, run in groupby(steps):
            stop = start + len([*run])
            if step:
                self._advance(kernel, slice(start, stop), step, settings)
            start = stop

    def _advance(self, kernel: Step, run: slice, step: int, settings: Settings) -> None:
        grads = [x.grad.data.reshape(-1) for x in self.params[run] if x.grad is not None]
        first, last = self.ends[run.start] - grads[0].size, self.ends[run.stop - 1]
        ends = [end - first for end in self.ends[run]]
        weight = self.weight[first:last]
        arrays = {name: array[first:last] for name, array in self.arrays.items()}

        def block(at: slice) -> None:
            state = {name: array[at] for name, array in arrays.items()}
            kernel(weight[at], _part(grads, ends, at), state, step, **settings)

        if last > first:
            blocks.each(block, blocks.slices(last - first, blocks.ELEMENTS))


def _used(kernel: Step, names: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """Return which arrays of the state a step with these settings uses."""
    nothing = np.empty(0)
    return kernel(nothing, nothing, dict.fromkeys(names, nothing), 1, **settings)


def _places(params: Sequence[Tensor], state: State, names: tuple[str, ...]) -> list[int]:
    """Return what tells whether parameters and state are still the same arrays."""
    entries = [state.get(param) for param in params]
    places = [*map(id, entries), *[id(param.data) for param in params]]
    for name in names:
        places += [id(entry and entry.get(name)) for entry in entries]
    return places


def _joined(arrays: list[Array]) -> tuple[Array, list[Array]]:
    """Return the arrays one after the other as one, and its parts in their shapes."""
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    ends = accumulate(array.size for array in arrays)
    return flat, [
        flat[end - array.size : end].reshape(array.shape)
        for array, end in zip(arrays, ends, strict=True)
    ]


def _part(grads: list[Array], ends: list[int], at: slice) -> Array:
    """Return what lies between two places of flat gradients that end at `ends`."""
    first, last = bisect_right(ends, at.start), bisect_left(ends, at.stop)
    pieces = grads[first : last + 1]
    pieces[-1] = pieces[-1][: at.stop - ends[last] + pieces[-1].size]
    pieces[0] = pieces[0][at.start - ends[first] + grads[first].size :]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
