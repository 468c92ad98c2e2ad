"""Random numbers that are the same on every backend: counter-based, keyed by a seed and a name."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from twingrad.core.errors import SettingError
from twingrad.core.spec import Array


def generator(seed: int, name: str, count: int = 0) -> np.random.Generator:
    """Return the generator that belongs to `seed`, `name` and the `count`-th use of that name.

    Philox (Salmon et al. 2011, doi:10.1145/2063384.2063405) has no state to hand over: the same
    three arguments give the same numbers, in any order and in any process.
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    key = int.from_bytes(digest, "little")
    return np.random.Generator(np.random.Philox(key=key, counter=count << 128))


def check_seed(seed: object) -> int:
    """Return the seed if it is an integer of at least 0, else raise SettingError."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SettingError(f"must be an integer >= 0; got {seed!r}", "seed")
    return int(seed)


@dataclass
class Draws:
    """The random numbers of one module, one batch of them a call; `count` is all its state."""

    seed: int
    name: str
    count: int = 0

    def keep(self, shape: tuple[int, ...], p: float) -> Array:
        """Return booleans that are False with probability p."""
        rng = generator(self.seed, self.name, self.count)
        self.count += 1
        return rng.random(shape, dtype=np.float32) >= np.float32(p)


@dataclass(frozen=True)
class Uniform:
    """Initial values drawn evenly from [-bound, bound)."""

    bound: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.uniform(-self.bound, self.bound, shape)


@dataclass(frozen=True)
class Constant:
    """Initial values that are all the same."""

    value: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Normal:
    """Initial values drawn from a normal distribution around 0; one row may be 0 instead."""

    std: float
    zero_row: int | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        values = rng.normal(0, self.std, shape)
        if self.zero_row is not None:
            values[self.zero_row] = 0
        return values


Initial = Uniform | Normal | Constant


def fan_in_uniform(fan_in: int) -> Uniform:
    """Return torch's default for a linear layer of that many inputs: U(+-1 / sqrt(fan_in))."""
    return Uniform(1 / math.sqrt(fan_in) if fan_in else 0.0)


def xavier_uniform(fan_in: int, fan_out: int) -> Uniform:
    """Return U(+-sqrt(6 / (fan_in + fan_out))) (Glorot and Bengio 2010, eq. 16)."""
    return Uniform(math.sqrt(6 / (fan_in + fan_out)))
