"""Time and memory of one piece of work on several backends, taken in turns in one run."""

from __future__ import annotations

import gc
import json
import math
import os
import statistics
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from twingrad.benchmarks.limits import Limits

Call = Callable[[], object]

SAMPLE = 10e-3  # seconds: shorter calls are repeated inside one sample
ENOUGH = 3  # samples of each backend, after which a time limit counts
REST = 0.1  # seconds before a sample, while the threads of whoever came before go to sleep
SETTLE = 0.03  # seconds of calls before a sample, until the system has spread threads over cores
WARM_UP = 2  # calls, after which every compiler is done: tinygrad's watches the second one, too
MIB = 2**20  # bytes
STDERR = 2  # the file descriptor


@dataclass(frozen=True)
class Benchmark:
    """One piece of work: for each backend, how to make ready the call that is timed.

    `work` says in words how much there is to do: dtype, and the lengths of the arrays. `flops` of
    matrix products and `bytes` of memory traffic are the least that any implementation needs.
    Cases that differ in one length are points of a `curve` over an `axis`, each `at` its length.
    What `baseline` takes, timed in turns with the rest, is no part of the work: it is subtracted.
    """

    suite: str
    name: str
    work: str
    prepare: Mapping[str, Callable[[], Call]]
    flops: float = 0.0
    bytes: float = 0.0
    curve: str | None = None
    axis: str | None = None
    at: int | None = None
    baseline: Call | None = None
    has_peak: bool = True  # False where the work is done in another process


@dataclass(frozen=True)
class Measurement:
    """What was measured of one benchmark on one backend.

    Seconds are for one call; `peak_mib` is memory in use at once (MiB) beyond inputs, parameters
    and optimizer state, None where the library does not tell. `bound_s` is the least time that
    this machine could need, None where that is unknown.
    """

    suite: str
    case: str
    backend: str
    work: str
    median_s: float
    iqr_s: float
    peak_mib: float | None
    bound_s: float | None = None
    curve: str | None = None
    axis: str | None = None
    at: int | None = None


def measure(
    benchmark: Benchmark, repeats: int, limit: float = math.inf, limits: Limits | None = None
) -> list[Measurement]:
    """Time `benchmark` on each of its backends in turns (A B A B ...), then take the peak memory.

    In turns, so that a machine that slows down or is shared does so to every backend alike.
    After `limit` seconds there are no more samples, if there are ENOUGH. The lower bound is what
    the machine's `limits` make of the benchmark's work.
    """
    calls = {backend: prepare() for backend, prepare in benchmark.prepare.items()}
    loops = {backend: _loops(call) for backend, call in calls.items()}
    samples: dict[str, list[float]] = {backend: [] for backend in calls}
    with _no_garbage_collection():
        start = perf_counter()
        for done in range(repeats):
            if done >= ENOUGH and perf_counter() - start > limit:
                break
            unwanted = 0.0 if benchmark.baseline is None else _seconds(benchmark.baseline, 1)
            for backend, call in calls.items():
                sleep(REST)
                _settle(call)
                samples[backend].append(_seconds(call, loops[backend]) - unwanted)
    return [
        Measurement(
            suite=benchmark.suite,
            case=benchmark.name,
            backend=backend,
            work=benchmark.work,
            median_s=statistics.median(samples[backend]),
            iqr_s=interquartile_range(samples[backend]),
            peak_mib=_peak_mib(backend, call) if benchmark.has_peak else None,
            bound_s=None if limits is None else limits.bound_s(benchmark.flops, benchmark.bytes),
            curve=benchmark.curve,
            axis=benchmark.axis,
            at=benchmark.at,
        )
        for backend, call in calls.items()
    ]


def interquartile_range(values: list[float]) -> float:
    """Return the width of the middle half of `values`; 0 if there is but one."""
    if len(values) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return upper - lower


def numpy_peak_bytes(call: Call) -> int:
    """Return how far the memory in use rises during one call, as NumPy tells tracemalloc.

    The BLAS's own buffers are not in it.
    """
    gc.collect()
    tracemalloc.start()
    try:
        # A call before, so that what one call leaves to the next is known and can be subtracted.
        call()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return max(peak - before, 0)


def torch_peak_bytes(call: Call) -> int:
    """Return how far the memory in use rises during one call, as torch's CPU allocator tells.

    Every allocation and release is in the profiler's trace; the running sum has a highest point.
    The kernels' own buffers are not in it.
    """
    from torch.profiler import ProfilerActivity, profile, record_function

    gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        with _no_stderr():  # the profiler writes of its start and stop, whatever its log level
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
                call()
                with record_function("measured"):
                    call()
            profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_bytes())["traceEvents"]
    start = next(event["ts"] for event in events if event.get("name") == "measured")
    changes = sorted(
        (event["ts"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["ts"] >= start
    )
    in_use = peak = 0
    for _, change in changes:
        in_use += change
        peak = max(peak, in_use)
    return peak


# JAX and tinygrad keep their memory to themselves on a CPU.
PEAK_BYTES: dict[str, Callable[[Call], int]] = {
    "numpy": numpy_peak_bytes,
    "torch": torch_peak_bytes,
    "torch-plain": torch_peak_bytes,
    "torch-fused": torch_peak_bytes,
    "torch-compile": torch_peak_bytes,
    "autograd": numpy_peak_bytes,
    "mygrad": numpy_peak_bytes,
}


def prepare_each(
    prepare: Callable[[str], Call], backends: tuple[str, ...]
) -> dict[str, Callable[[], Call]]:
    """Return how to make `prepare`'s call ready on each of `backends`."""
    return {backend: partial(prepare, backend) for backend in backends}


def _peak_mib(backend: str, call: Call) -> float | None:
    peak_bytes = PEAK_BYTES.get(backend)
    return None if peak_bytes is None else peak_bytes(call) / MIB


def _loops(call: Call) -> int:
    """Return how many calls fill a sample, after warming up."""
    for _ in range(WARM_UP):
        call()
    return max(1, round(SAMPLE / max(_seconds(call, 1), 1e-9)))


def _settle(call: Call) -> None:
    """Call for a while: a step of a training follows another, and so does one that is timed."""
    start = perf_counter()
    while perf_counter() - start < SETTLE:
        call()


def _seconds(call: Call, loops: int) -> float:
    """Return the time of one call, averaged over `loops`."""
    start = perf_counter()
    for _ in range(loops):
        call()
    return (perf_counter() - start) / loops


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from running inside a sample, where it would hit one backend only."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what is written to stderr, also by C++, which knows only the file descriptor."""
    try:
        stderr = os.dup(STDERR)
    except OSError:  # there is none: nothing can be written to it
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(stderr, STDERR)
        os.close(stderr)
        os.close(nowhere)
