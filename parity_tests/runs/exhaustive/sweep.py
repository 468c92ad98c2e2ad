"""One chunk of all floats of a dtype, in ascending order, through a function and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from twingrad.core.registry import load_backend
from twingrad.core.spec import Array
from twingrad.parity_tests.laws.sweeps import Direction, Function

BLOCK = 2**16  # floats at a time, so that all that is computed from them stays in the cache
LIMITS = (0.5, 0.501, 1.0, 2.0, 4.0, 100.0, 1e4)  # ulp: how many results are above each
UNSIGNED: dict[str, Any] = {"float16": np.uint16, "float32": np.uint32}


@dataclass
class Tally:
    """What a sweep saw of one backend's output or gradient."""

    count: int = 0
    ulp: float = 0.0  # largest error where the truth is a normal number
    ulp_at: int = 0  # the bits of the x where it is
    tiny: float = 0.0  # largest error where the truth is below, in units of the smallest number
    tiny_at: int = 0
    above: list[int] = field(default_factory=lambda: [0] * len(LIMITS))
    wrong_class: int = 0  # NaN or infinite where the truth is not, or the other way round
    wrong_class_at: int = 0
    out_of_range: int = 0
    out_of_range_at: int = 0
    turns: int = 0  # neighbours in the wrong order, where the function only rises or only falls
    turns_at: int = 0

    def add(self, other: Tally) -> None:
        """Take in what another sweep saw."""
        self.count += other.count
        for name in ("ulp", "tiny"):
            if getattr(other, name) > getattr(self, name):
                setattr(self, name, getattr(other, name))
                setattr(self, f"{name}_at", getattr(other, f"{name}_at"))
        for name in ("wrong_class", "out_of_range", "turns"):
            if getattr(other, name) and not getattr(self, name):
                setattr(self, f"{name}_at", getattr(other, f"{name}_at"))
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.above = [mine + theirs for mine, theirs in zip(self.above, other.above, strict=True)]


def number_of_floats(dtype: str) -> int:
    """Return how many bit patterns a dtype has."""
    return int(2 ** (8 * np.dtype(dtype).itemsize))


def floats(dtype: str, start: int, stop: int) -> Array:
    """Return floats number `start` to `stop` of a dtype, counted from the lowest, NaN at the ends.

    Negative NaNs, -inf, the negative numbers, -0, +0, the positive ones, inf, positive NaNs.
    """
    half = number_of_floats(dtype) // 2
    keys = np.arange(start, stop, dtype=np.int64)
    bits = np.where(keys < half, 2 * half - 1 - keys, keys - half)
    return bits.astype(UNSIGNED[dtype]).view(dtype)


def sweep(
    function: Function, dtype: str, start: int, stop: int, backends: tuple[str, ...]
) -> dict[tuple[str, str], Tally]:
    """Return the tally of each backend (first) and direction (second) on floats start to stop."""
    tallies = {(name, what): Tally() for name in backends for what in function.directions}
    for first, last in _blocks(start, stop):
        # One float more on the left, so that each pair of neighbours is seen once.
        overlap = int(first > 0)
        x = floats(dtype, first - overlap, last)
        truths = _truths(function, x)
        for name in backends:
            for what, values in _computed(function, name, x).items():
                side = function.directions[what]
                # The negative floats come first; where they have no meaning, nothing is compared.
                start = int(np.signbit(x).sum()) if side.positive else 0
                if start < len(x):
                    columns = x[start:], values[start:], truths[what][start:]
                    tallies[name, what].add(_tally(side, *columns, 0 if start else overlap))
    return tallies


def _blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, BLOCK):
        yield first, min(first + BLOCK, stop)


def _truths(function: Function, x: Array) -> dict[str, Array]:
    with np.errstate(invalid="ignore"):
        wide = torch.from_numpy(x.astype(np.float64))
    return {what: side.truth(wide).numpy() for what, side in function.directions.items()}


def _computed(function: Function, backend: str, x: Array) -> dict[str, Array]:
    beside = {name: np.full_like(x, value) for name, value in function.beside.items()}
    inputs = {"x": x, **beside}
    with np.errstate(all="ignore"):
        y, grads = load_backend(backend).vjp(function.spec, inputs, np.ones_like, function.settings)
    return {"y": y, "grad_x": grads["x"]}


def _tally(side: Direction, x: Array, values: Array, truth: Array, overlap: int) -> Tally:
    info = np.finfo(values.dtype)
    tally = Tally(count=len(x) - overlap)
    turns = _turns(side, x, values)
    if turns.size:
        tally.turns, tally.turns_at = len(turns), _bits(x, turns[0] + 1)
    x, values, truth = x[overlap:], values[overlap:], truth[overlap:]
    with np.errstate(all="ignore"):
        ulp = np.abs(values.astype(np.float64) - truth) / _spacing(truth, info)
        # What is NaN or infinite has no distance: it is the same, or it is of the wrong class.
        if not np.isfinite(ulp.sum()):
            special = ~np.isfinite(ulp) | ~np.isfinite(values)
            rounded = truth.astype(values.dtype)
            same = (values == rounded) | (np.isnan(values) & np.isnan(truth))
            broken = np.flatnonzero(special & ~same)
            ulp[special] = 0
            if broken.size:
                tally.wrong_class, tally.wrong_class_at = len(broken), _bits(x, broken[0])
        beyond = np.flatnonzero(
            (values < values.dtype.type(side.low)) | (values > values.dtype.type(side.high))
        )
        is_tiny = np.abs(truth) < float(info.smallest_normal)
    if beyond.size:
        tally.out_of_range, tally.out_of_range_at = len(beyond), _bits(x, beyond[0])
    if is_tiny.any():
        tiny = np.where(is_tiny, ulp, 0)
        at = int(np.argmax(tiny))
        tally.tiny, tally.tiny_at = float(tiny[at]), _bits(x, at)
        ulp = np.where(is_tiny, 0, ulp)
    at = int(np.argmax(ulp))
    tally.ulp, tally.ulp_at = float(ulp[at]), _bits(x, at)
    if tally.ulp > LIMITS[0]:
        tally.above = [int(np.count_nonzero(ulp > limit)) for limit in LIMITS]
    return tally


def _turns(side: Direction, x: Array, values: Array) -> Array:
    """Return the places before which a value falls that may only rise, or the other way round."""
    found = []
    numbers = np.flatnonzero(~np.isnan(x))  # NaNs stand at the ends
    first, last = (numbers[0], numbers[-1] + 1) if numbers.size else (0, 0)
    for low, high, sign in side.monotone:
        inside = slice(*(first + np.searchsorted(x[first:last], [low, high], side="left")))
        part = values[inside]
        with np.errstate(invalid="ignore"):
            wrong = part[1:] < part[:-1] if sign > 0 else part[1:] > part[:-1]
        if wrong.any():
            found.append(np.flatnonzero(wrong) + inside.start)
    return np.concatenate(found) if found else np.zeros(0, int)


def _bits(x: Array, at: Any) -> int:
    return int(x.view(UNSIGNED[str(x.dtype)])[int(at)])


EXPONENT = 0x7FF << 52  # the bits of a float64's exponent


def _spacing(truth: Array, info: Any) -> Array:
    """Return the distance of two floats of a dtype next to each float64."""
    exponent = truth.view(np.int64) & EXPONENT
    lowest = (1023 + info.minexp) << 52
    spacing: Array = (np.maximum(exponent, lowest) - (info.nmant << 52)).view(np.float64)
    return spacing
