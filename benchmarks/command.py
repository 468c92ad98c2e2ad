"""The command `twingrad bench`: what is to be measured, and where the numbers go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twingrad.core.errors import INTERRUPTED, SettingError, UnknownNameError

if TYPE_CHECKING:
    from twingrad.benchmarks.measure import Case, Row

SIZES = ("small", "medium", "large")
SUITES = ("layers", "optimizers", "mlp")
DTYPES = ("float32", "float64")
REPEATS = 15
LIMIT = 0.5  # seconds for the samples of one case, unless --repeats asks for more
BUSY = 0.5  # processes that want a core, for each core there is
PIPED_WIDTH = 160  # columns of text where there is no terminal to ask


def bench(
    suite: Annotated[str, typer.Option(help="layers, optimizers, mlp or all.")] = "all",
    layers: Annotated[
        str | None, typer.Option(help="Only these layers: names with commas between.")
    ] = None,
    size: Annotated[str, typer.Option(help="small, medium or large.")] = "medium",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    backend: Annotated[
        str | None, typer.Option(help="numpy, torch or numpy,torch; default: all installed.")
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Samples of each case on each backend.",
            show_default=f"{REPEATS}, fewer where they take more than {LIMIT:g} s",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each library; default: as they choose.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them: a .png, .svg or .pdf file.")] = None,
) -> None:
    """Measure time and memory of both backends, taken in turns in one run.

    Every layer (forward, and forward with backward, on the tape), every optimizer's step, and
    the training step of an MLP, there also in plain torch.nn ("torch-plain").

    Time is the median of the samples; iqr is the width of their middle half as a share of it.
    Peak is the memory in use at once during one call, beyond inputs, parameters and optimizer
    state: as tracemalloc counts it for NumPy and as torch's profiler does for torch, in a pass
    of its own that is not timed. Buffers inside BLAS libraries are in neither.
    """
    _one_of("--suite", suite, (*SUITES, "all"))
    _one_of("--size", size, SIZES)
    _one_of("--dtype", dtype, DTYPES)
    chosen_layers = _layers(layers)
    if layers is not None and suite == "all":
        suite = "layers"
    elif layers is not None and suite != "layers":
        raise SettingError(f"--layers goes with --suite layers; got --suite {suite}")
    kind = None if plot is None else _plot_format(plot)
    backends, notes = _backends(backend)
    if threads is not None and find_spec("threadpoolctl") is None:
        raise SettingError(
            "--threads needs threadpoolctl; install it with: pip install 'twingrad[bench]'"
        )

    from rich.console import Console

    from twingrad.benchmarks.environment import environment, summary
    from twingrad.benchmarks.report import table, write_json
    from twingrad.core.files import whole_file

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, PIPED_WIDTH))
    with ExitStack() as outputs:
        # Opened before the work: a path that cannot be written should fail at once.
        json_file = None if json is None else outputs.enter_context(whole_file(json))
        plot_file = None if plot is None else outputs.enter_context(whole_file(plot))
        if threads is not None:
            outputs.enter_context(_limited(threads, backends))
        facts = environment(import_torch="torch" in backends)
        facts["bench"] = {
            "suite": suite,
            "size": size,
            "dtype": dtype,
            "repeats": REPEATS if repeats is None else repeats,
            "limit_s": LIMIT if repeats is None else None,
            "backends": list(backends),
        }
        for line in [*summary(facts), *notes, *_warning_if_busy(facts)]:
            console.print(line, markup=False, soft_wrap=True)
        rows: list[Row] = []
        for name in SUITES if suite == "all" else (suite,):
            cases = list(_cases(name, size, dtype, backends, chosen_layers))
            try:
                measured = _measure(cases, repeats)
            except KeyboardInterrupt:
                typer.echo("twingrad: interrupted", err=True)
                raise typer.Exit(INTERRUPTED) from None
            console.print(table(name, measured, console.width))
            rows += measured
        if json_file is not None:
            write_json(json_file, facts, rows)
        if plot_file is not None and kind is not None:
            from twingrad.benchmarks.plot import write_plot

            write_plot(plot_file, kind, facts, rows)
    for path in (json, plot):
        if path is not None:
            console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _measure(cases: Sequence[Case], repeats: int | None) -> list[Row]:
    """Measure every case, showing on a terminal which one is under way."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from twingrad.benchmarks.measure import measure

    screen = Console(stderr=True)
    rows: list[Row] = []
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
            rows += measure(case, REPEATS, LIMIT) if repeats is None else measure(case, repeats)
            progress.advance(task)
    return rows


def _cases(
    suite: str, size: str, dtype: str, backends: tuple[str, ...], layers: Sequence[str]
) -> Iterator[Case]:
    from twingrad.benchmarks import bench_layers, bench_mlp, bench_optimizers

    if suite == "layers":
        return bench_layers.cases(size, dtype, backends, layers)
    other = {"optimizers": bench_optimizers.cases, "mlp": bench_mlp.cases}
    return other[suite](size, dtype, backends)


def _layers(names: str | None) -> tuple[str, ...]:
    from twingrad.core.layers import LAYERS

    chosen = tuple(LAYERS) if names is None else _split(names)
    for name in chosen:
        if name not in LAYERS:
            raise UnknownNameError("layer", name, LAYERS)
    return chosen


def _backends(names: str | None) -> tuple[tuple[str, ...], list[str]]:
    """Return the backends to measure, NumPy first, and why one that was not named is missing."""
    from twingrad.core.backend import BACKENDS, backends, load_backend

    if names is None:
        states = backends()
        available = tuple(name for name, state in states.items() if state == "available")
        return available, [
            f"not measured: {name}" for name, state in states.items() if state != "available"
        ]
    chosen = _split(names)
    for name in chosen:
        if name not in BACKENDS:
            raise UnknownNameError("backend", name, BACKENDS)
        load_backend(name)
    return tuple(name for name in BACKENDS if name in chosen), []


@contextmanager
def _limited(threads: int, backends: tuple[str, ...]) -> Iterator[None]:
    """Give every BLAS and OpenMP library, and torch, this many threads."""
    from threadpoolctl import threadpool_limits

    before: int | None = None
    if "torch" in backends:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
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


def _plot_format(path: Path) -> str:
    from twingrad.benchmarks.plot import FORMATS, plot_format

    kind = plot_format(path)
    if kind is None:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise SettingError(f"--plot must end in one of {endings}; got {str(path)!r}")
    if find_spec("matplotlib") is None:
        raise SettingError("--plot needs matplotlib; install it with: pip install 'twingrad[plot]'")
    return kind


def _one_of(flag: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise SettingError(f"{flag} must be one of {', '.join(options)}; got {value!r}")


def _split(names: str) -> tuple[str, ...]:
    """Return the names between the commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in names.split(",")))
