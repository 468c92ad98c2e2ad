"""Blocks: a kernel runs over a large array part by part, so that each part stays in the cache.

One thread for each core takes the next block when it is done with its last. What a block holds
depends on shapes alone, so results are the same for any number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from twingrad.core.errors import SettingError
from twingrad.core.spec import Array

# Elements of a block: an array of this length fits into the L2 cache. With shorter ones, threads
# spend more time on waiting for the interpreter between two calls of NumPy than in them.
ELEMENTS = 1 << 17

# glibc gives freed memory back to the system, page by page, until an array of up to 32 MiB has been
# freed once: from then on it keeps as much for the next ones. So one is, before the first block.
np.empty((1 << 25) - (1 << 16), np.uint8)

_inside: ContextVar[bool] = ContextVar("inside a block", default=False)
_chosen: int | None = None
_team: ThreadPoolExecutor | None = None
_lock = Lock()
_in_blocks = 0  # user threads that are in each() with helpers
_before: list[int] = []  # threads of each BLAS, to be given back


def set_num_threads(count: int | None) -> None:
    """Use `count` threads from now on; None: as many as there are cores for this process.

    Raises SettingError unless `count` is an integer >= 1.
    """
    global _chosen, _team
    if count is not None and (type(count) is not int or count < 1):
        raise SettingError(f"set_num_threads: count must be an integer >= 1; got {count!r}")
    _chosen = count
    _team = None


def get_num_threads() -> int:
    """Return how many threads a kernel may use."""
    return _available() if _chosen is None else _chosen


def elementwise(kernel: Callable[..., Any], *arrays: Array) -> list[Any]:
    """Call `kernel` on blocks of arrays of one shape, in any order; it writes into some of them.

    Those must be contiguous. Returns what the calls returned, in the order of the elements.
    """
    size = arrays[0].size
    if size <= ELEMENTS and arrays[0].ndim:
        return [kernel(*arrays)]
    flat = [array.reshape(-1) for array in arrays]
    parts = slices(size, ELEMENTS)
    return each(lambda at: kernel(*(array[at] for array in flat)), parts)


def rows(kernel: Callable[..., Any], *arrays: Array) -> list[Any]:
    """Call `kernel` on blocks of rows: arrays (..., n) become (rows, n), for each its own n.

    Returns what the calls returned, in the order of the rows.
    """
    width = max(max(array.shape[-1] for array in arrays), 1)
    count = math.prod(arrays[0].shape[:-1])
    flat = [array.reshape(count, array.shape[-1]) for array in arrays]
    parts = slices(count, max(1, ELEMENTS // width))
    return each(lambda at: kernel(*(array[at] for array in flat)), parts)


def slices(count: int, step: int) -> list[slice]:
    """Return slices of `step` that cover `count` places: one at least."""
    return [slice(start, min(start + step, count)) for start in range(0, max(count, 1), step)]


def each(work: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
    """Call `work` on each part, on all threads; returns what the calls returned, in order.

    What a call raises is raised here. Inside a block, all is done by the thread that is there.
    """
    helpers = 0 if _inside.get() else min(get_num_threads(), len(parts)) - 1
    if helpers <= 0:
        return [work(part) for part in parts]
    results: list[Any] = [None] * len(parts)
    left = iter(range(len(parts)))  # shared: each number is handed out once

    def share() -> None:
        token = _inside.set(True)
        try:
            for number in left:
                results[number] = work(parts[number])
        finally:
            _inside.reset(token)

    with _one_blas_thread():
        # Each helper in a copy of this context: NumPy keeps its error state there.
        team = _threads()
        futures = [team.submit(copy_context().run, share) for _ in range(helpers)]
        try:
            share()
        except BaseException:
            for _ in left:  # nobody begins another part
                pass
            raise
        finally:
            # Whoever has not begun has nothing left to do; the others are at their last part.
            waiting = [future for future in futures if not future.cancel()]
            wait(waiting)
    for future in waiting:
        future.result()
    return results


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Let matrix products in blocks use their own thread alone; several may be here at once."""
    global _in_blocks
    libraries = _blas()
    with _lock:
        if _in_blocks == 0:
            _before[:] = [library.num_threads for library in libraries]
            for library in libraries:
                library.set_num_threads(1)
        _in_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _in_blocks -= 1
            if _in_blocks == 0:
                for library, count in zip(libraries, _before, strict=True):
                    library.set_num_threads(count)


@cache
def _blas() -> list[Any]:
    """Return handles of the BLAS libraries that were loaded with NumPy."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _threads() -> ThreadPoolExecutor:
    global _team
    team = _team
    if team is None:
        team = _team = ThreadPoolExecutor(max(get_num_threads() - 1, 1), "twingrad")
    return team


def _forget_threads() -> None:
    global _team, _lock, _in_blocks
    _team, _lock, _in_blocks = None, Lock(), 0


# A child process has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@cache
def _available() -> int:
    """Return OMP_NUM_THREADS, or else the cores that the process and its container may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) >= 1:
        return int(asked)
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota() -> int:
    """Return how many cores' time the control group may use, on Linux."""
    for quota, period in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        try:
            words = (Path("/sys/fs/cgroup") / quota).read_text().split()
            if period is not None:
                words += (Path("/sys/fs/cgroup") / period).read_text().split()
            allowed, length = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):
            continue  # not there, or "max"
        if allowed > 0 and length > 0:
            return max(1, math.ceil(allowed / length))
    return os.cpu_count() or 1
