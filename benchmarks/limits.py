"""What this machine can do at best, measured: the rates behind every lower bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from twingrad.core.environment import cores

PRODUCT = (2048, 768, 3072)  # rows, inner length and columns of the product that is timed
WORKING_SETS = (2**18, 2**21, 2**24, 2**27)  # bytes: one for each level of the caches, and memory
COPIED = 2**28  # bytes that a sample of copying reads and writes
SAMPLES = 7
GIGA = 1e9
MIB = 2**20  # bytes


@dataclass(frozen=True)
class Limits:
    """The highest rates seen: of NumPy's own matrix product, and of copying by working set."""

    flops_per_s: float
    bytes_per_s: Mapping[int, float]  # the keys are bytes of memory that is read and written

    def bound_s(self, flops: float, bytes: float) -> float | None:
        """Return the least seconds for this work, or None if it is not known to need any.

        Products and memory traffic may overlap, so the longer of the two counts.
        """
        if not flops and not bytes:
            return None
        fitting = [size for size in self.bytes_per_s if size <= bytes]
        rate = self.bytes_per_s[max(fitting, default=min(self.bytes_per_s))]
        return max(flops / self.flops_per_s, bytes / rate)

    def facts(self) -> dict[str, Any]:
        """Return the rates, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        copying = ", ".join(
            f"{rate / GIGA:.0f} within {size / MIB:g} MiB"
            for size, rate in self.bytes_per_s.items()
        )
        product = f"{self.flops_per_s / GIGA:.0f} GFLOP/s in NumPy's matrix product"
        return f"best rates: {product}; GB/s of copying: {copying}"


def measure_limits(dtype: str, threads: int | None = None) -> Limits:
    """Measure both rates, with `threads` threads (default: one for each core)."""
    return Limits(_product_rate(dtype), _copy_rates(threads or cores()))


def _product_rate(dtype: str) -> float:
    rows, inner, columns = PRODUCT
    x, y = np.ones((rows, inner), dtype), np.ones((inner, columns), dtype)
    out = np.empty((rows, columns), dtype)
    return 2.0 * rows * inner * columns / _shortest(lambda: np.matmul(x, y, out=out))


def _copy_rates(threads: int) -> dict[int, float]:
    """Return bytes read and written in a second, for each working set.

    A larger working set never has a higher rate than a smaller one: that would be noise.
    """
    rates: dict[int, float] = {}
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for size in reversed(WORKING_SETS):
            # Half of a working set is read, and half of it is written.
            sources = [np.ones(size // (2 * threads), np.uint8) for _ in range(threads)]
            targets = [np.empty_like(source) for source in sources]
            loops = [COPIED // size] * threads
            seconds = _shortest(partial(_copy_each, pool, sources, targets, loops))
            best = rates[size] = max(best, COPIED / seconds)
    return dict(reversed(rates.items()))


def _copy_each(pool: ThreadPoolExecutor, *work: list[Any]) -> None:
    deque(pool.map(_copy, *work), maxlen=0)  # waits for all


def _copy(source: Any, target: Any, loops: int) -> None:
    for _ in range(loops):
        np.copyto(target, source)


def _shortest(call: Callable[[], object]) -> float:
    """Return the least seconds that the call took, after one to warm up."""
    call()
    seconds = []
    for _ in range(SAMPLES):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return min(seconds)
