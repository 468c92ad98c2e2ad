"""A run of `twingrad bench`: every case of every suite, one after the other."""

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
from twingrad.benchmarks.measure import Case, Row, measure
from twingrad.benchmarks.peers.choice import PEERS
from twingrad.benchmarks.report import growth_table, table
from twingrad.core.catalogue import LAYERS
from twingrad.core.environment import environment, summary

SUITES: dict[str, Callable[..., Iterator[Case]]] = {
    "layers": bench_layers.cases,
    "optimizers": bench_optimizers.cases,
    "mlp": bench_mlp.cases,
    "bert": bench_bert.cases,
    "attention": bench_attention.cases,
    "scaling": bench_scaling.cases,
    "import": bench_import.cases,
}
REPEATS = 15
LIMIT = 0.5  # seconds for the samples of one case, unless repeats are asked for
BUSY = 0.5  # processes that want a core, for each core there is


@dataclass(frozen=True)
class Request:
    """What is to be measured."""

    suites: tuple[str, ...]
    size: str
    dtype: str
    backends: tuple[str, ...]
    peers: tuple[str, ...] = ()
    layers: tuple[str, ...] = tuple(LAYERS)
    repeats: int | None = None
    threads: int | None = None

    @property
    def needs_torch(self) -> bool:
        """Whether torch will be loaded."""
        return "torch" in self.backends or any(PEERS[name].module == "torch" for name in self.peers)

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
class Done:
    """What a run has measured, on what; perhaps Ctrl-C ended it early."""

    facts: dict[str, Any]
    rows: list[Row]
    interrupted: bool


def run(request: Request, console: Console, notes: Sequence[str] = ()) -> Done:
    """Measure every suite, printing a table of each as it is done.

    If Ctrl-C comes, what was measured by then is printed and returned.
    """
    facts = environment(import_torch=request.needs_torch)
    limits = measure_limits(request.dtype, request.threads)
    facts["bench"] = {**request.facts(), "limits": limits.facts(), "interrupted": False}
    for line in [*summary(facts), str(limits), *notes, *_warning_if_busy(facts)]:
        console.print(line, markup=False, soft_wrap=True)
    rows: list[Row] = []
    for suite in request.suites:
        measured: list[Row] = []
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
    return Done(facts, rows, facts["bench"]["interrupted"])


def _measure_suite(request: Request, suite: str, limits: Limits, rows: list[Row]) -> None:
    """Measure every case of a suite and add its rows; a terminal shows which one is under way."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    cases = list(cases_of(request, suite))
    screen = Console(stderr=True)
    # Redrawn only between cases: a thread that draws would take time from what is measured.
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=screen,
        transient=True,
        auto_refresh=False,
        disable=not screen.is_terminal,
    ) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=case.name, refresh=True)
            if request.repeats is None:
                rows += measure(case, REPEATS, LIMIT, limits=limits)
            else:
                rows += measure(case, request.repeats, limits=limits)
            progress.advance(task)


def cases_of(request: Request, suite: str) -> Iterator[Case]:
    """Return the cases of one suite."""
    common = (request.size, request.dtype, request.backends, request.peers)
    if suite == "layers":
        return bench_layers.cases(*common, request.layers)
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
