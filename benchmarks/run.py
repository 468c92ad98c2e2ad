"""A run of `twingrad bench`: every benchmark of every suite, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from threadpoolctl import threadpool_limits

from twingrad.backends.numpy_backend import set_num_threads
from twingrad.benchmarks import (
    bench_attention,
    bench_bert,
    bench_import,
    bench_layers,
    bench_mlp,
    bench_optimizers,
    bench_scaling,
)
from twingrad.benchmarks.growth import growths
from twingrad.benchmarks.limits import Limits, measure_limits
from twingrad.benchmarks.measure import Benchmark, Measurement, measure
from twingrad.benchmarks.peers.choice import PEERS
from twingrad.benchmarks.report import growth_table, table
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.environment import environment, summary

SUITES: dict[str, Callable[..., Iterator[Benchmark]]] = {
    "layers": bench_layers.benchmarks,
    "optimizers": bench_optimizers.benchmarks,
    "mlp": bench_mlp.benchmarks,
    "bert": bench_bert.benchmarks,
    "attention": bench_attention.benchmarks,
    "scaling": bench_scaling.benchmarks,
    "import": bench_import.benchmarks,
}
REPEATS = 15
LIMIT = 0.5  # seconds for the samples of one benchmark, unless repeats are asked for
BUSY = 0.5  # processes that want a core, for each core there is


@dataclass(frozen=True)
class Request:
    """What is to be measured."""

    suites: tuple[str, ...]
    size: str
    dtype: str
    backends: tuple[str, ...]
    peers: tuple[str, ...] = ()
    layers: tuple[str, ...] | None = None  # all there are
    optimizers: tuple[str, ...] | None = None
    repeats: int | None = None
    threads: int | None = None

    @property
    def needs_torch(self) -> bool:
        """Whether torch will be loaded."""
        return "torch" in self.backends or any(PEERS[name].module == "torch" for name in self.peers)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers and the optimizers that are measured by themselves."""
        layers = tuple(LAYERS) if self.layers is None else self.layers
        optimizers = tuple(OPTIMIZERS) if self.optimizers is None else self.optimizers
        layers = layers if "layers" in self.suites else ()
        return (*layers, *optimizers) if "optimizers" in self.suites else layers

    def facts(self) -> dict[str, Any]:
        """Return the request, ready for JSON."""
        return {
            "suites": list(self.suites),
            "size": self.size,
            "dtype": self.dtype,
            "repeats": REPEATS if self.repeats is None else self.repeats,
            "limit_s": LIMIT if self.repeats is None else None,
            "threads": self.threads,
            "backends": list(self.backends),
            "peers": list(self.peers),
        }


@dataclass(frozen=True)
class Outcome:
    """What a run has measured, on what; perhaps Ctrl-C ended it early."""

    facts: dict[str, Any]
    rows: list[Measurement]
    interrupted: bool


def run(request: Request, console: Console, notes: Sequence[str] = ()) -> Outcome:
    """Measure every suite, printing a table of each as it is done.

    If Ctrl-C comes, what was measured by then is printed and returned.
    """
    facts = environment(import_torch=request.needs_torch)
    limits = measure_limits(request.dtype, request.threads)
    facts["bench"] = {**request.facts(), "limits": limits.facts(), "interrupted": False}
    for line in [*summary(facts), str(limits), *notes, *_warning_if_busy(facts)]:
        console.print(line, markup=False, soft_wrap=True)
    rows: list[Measurement] = []
    for suite in request.suites:
        measured: list[Measurement] = []
        try:
            _measure_suite(request, suite, limits, measured)
        except KeyboardInterrupt:
            facts["bench"]["interrupted"] = True
        if measured:
            console.print(table(suite, measured))
        found = growths(measured)
        if found:
            console.print(growth_table(found))
        rows += measured
        if facts["bench"]["interrupted"]:
            break
    return Outcome(facts, rows, facts["bench"]["interrupted"])


def _measure_suite(request: Request, suite: str, limits: Limits, rows: list[Measurement]) -> None:
    """Measure every benchmark of a suite and add its rows; a terminal shows where it stands."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    benchmarks = list(benchmarks_of(request, suite))
    screen = Console(stderr=True)
    # Redrawn only between benchmarks: a thread that draws would take time from what is measured.
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=screen,
        transient=True,
        auto_refresh=False,
        disable=not screen.is_terminal,
    ) as progress:
        task = progress.add_task("", total=len(benchmarks))
        for benchmark in benchmarks:
            progress.update(task, description=benchmark.name, refresh=True)
            if request.repeats is None:
                rows += measure(benchmark, REPEATS, LIMIT, limits=limits)
            else:
                rows += measure(benchmark, request.repeats, limits=limits)
            progress.advance(task)


def benchmarks_of(request: Request, suite: str) -> Iterator[Benchmark]:
    """Return the benchmarks of one suite."""
    common = (request.size, request.dtype, request.backends, request.peers)
    if suite == "layers":
        return bench_layers.benchmarks(*common, request.layers)
    if suite == "optimizers":
        return bench_optimizers.benchmarks(*common, request.optimizers)
    return SUITES[suite](*common)


@contextmanager
def limited(threads: int, request: Request) -> Iterator[None]:
    """Give the NumPy side, every BLAS and OpenMP library, torch and JAX this many threads."""
    # JAX reads it as it starts its threads; there is nothing to take back.
    os.environ["NPROC"] = str(threads)
    before: int | None = None
    if request.needs_torch:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
    set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        set_num_threads(None)
        if before is not None:
            torch.set_num_threads(before)


def _warning_if_busy(facts: Mapping[str, Any]) -> list[str]:
    """Return a line if others use the cores, since threads that wait for a core distort a ratio."""
    load, cores = facts["load"], facts["cpu"]["cores"]
    if load is None or load <= BUSY * cores:
        return []
    busy = f"the machine is busy (load {load} on {cores} cores)"
    advice = "libraries with several threads wait for a core; --threads 1 is fairer"
    return [f"warning: {busy}; {advice}"]
