"""What a training step on the NumPy side does, in numbers that no clock and no load can change.

A slow path shows here: a further kernel, a node more on the tape, a copy of a large array.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import twingrad
from twingrad.backends.numpy_backend import set_num_threads
from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS
from twingrad.backends.numpy_backend.tape import Node
from twingrad.benchmarks.bench_mlp import MlpWork
from twingrad.benchmarks.bench_mlp import twingrad_step as mlp_step
from twingrad.benchmarks.bert_work import BertWork
from twingrad.benchmarks.bert_work import twingrad_step as bert_step
from twingrad.benchmarks.measure import WARM_UP, Call

LARGE = 2**16  # bytes: what is allocated at once and counted as a large array
TOLERANCE = 0.02  # share by which a count may grow
PACKAGE = str(Path(twingrad.__file__).parent)

Counts = dict[str, int]
STEPS: dict[str, Callable[[], Call]] = {
    "mlp 30-256-256-1 step, batch 256": lambda: mlp_step(
        MlpWork((30, 256, 256, 1), 256, "float32"), "numpy"
    ),
    "bert 64 step, 2 layers, batch 4, length 128": lambda: bert_step(
        BertWork(hidden=64, layers=2, heads=2, batch=4, vocabulary=1000), "numpy"
    ),
}


def count_all() -> dict[str, Counts]:
    """Return the counts of each step."""
    return {name: count(prepare()) for name, prepare in STEPS.items()}


def count(call: Call) -> Counts:
    """Return what one call does, on one thread, after others like it.

    kernels: calls of a handwritten forward, backward or optimizer's step; nodes: entries on the
    tape; large_arrays: lines of code during which the memory in use rose by LARGE or more;
    allocated_bytes: the sum of these rises; peak_bytes: the most memory in use at once beyond
    what was before.
    """
    set_num_threads(1)
    try:
        for _ in range(WARM_UP):
            call()
        with _tracemalloc():
            # Once more, since what the last call left behind is released in this one, and since
            # Python keeps something for each function that it has traced.
            _traced(call)
            return _traced(call)
    finally:
        set_num_threads(None)


def _traced(call: Call) -> Counts:
    """Return the counts of one call, looking at the memory before each of its lines."""
    counts = dict.fromkeys(("kernels", "nodes", "large_arrays", "allocated_bytes"), 0)
    kernels = {
        getattr(function, "__code__", None)
        for function in (*chain.from_iterable(KERNELS.values()), *OPTIMIZERS.values())
    }
    before, _ = tracemalloc.get_traced_memory()
    highest = level = before

    def look() -> None:
        nonlocal highest, level
        now, peak = tracemalloc.get_traced_memory()
        rise = peak - level
        if rise >= LARGE:
            counts["large_arrays"] += 1
            counts["allocated_bytes"] += rise
        highest, level = max(highest, peak), now
        tracemalloc.reset_peak()

    def each_line(frame: FrameType, event: str, _: Any) -> Any:
        look()
        return each_line

    def each_call(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        counts["kernels"] += code in kernels
        counts["nodes"] += code is Node.__init__.__code__
        if not code.co_filename.startswith(PACKAGE):
            return None
        look()
        return each_line

    tracemalloc.reset_peak()
    traced_before = sys.gettrace()
    sys.settrace(each_call)
    try:
        call()
    finally:
        sys.settrace(traced_before)
    look()
    return {**counts, "peak_bytes": highest - before}


def grown(found: Mapping[str, Counts], committed: Mapping[str, Counts]) -> list[str]:
    """Return a line for each count that is more than TOLERANCE above the committed one."""
    return [
        f"{step}: {name} is {value}, committed {committed[step][name]}"
        for step, counts in found.items()
        for name, value in counts.items()
        if value > committed[step][name] * (1 + TOLERANCE)
    ]


def write_counts(file: BinaryIO, counts: Mapping[str, Counts]) -> None:
    """Write the counts as JSON."""
    file.write(json.dumps(counts, indent=1).encode() + b"\n")


@contextmanager
def _tracemalloc() -> Iterator[None]:
    """Trace memory, with no garbage collector to release it at another time."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        if enabled:
            gc.enable()
