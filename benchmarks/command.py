"""The command `twingrad bench`: what is to be measured, and where the numbers go."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twingrad.core import packages
from twingrad.core.errors import (
    INTERRUPTED,
    SettingError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from twingrad.benchmarks.run import Request

SIZES = ("small", "medium", "large")
SUITES = ("layers", "optimizers", "mlp", "bert", "attention", "scaling", "import")
DTYPES = ("float32", "float64")
PIPED_WIDTH = 160  # columns of text where there is no terminal to ask


def bench(
    suite: Annotated[
        str,
        typer.Option(
            help="layers, optimizers, mlp, bert, attention, scaling, import, or several with "
            "commas between; or all."
        ),
    ] = "all",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Only these layers and optimizers, with commas between: names, or Python files "
            "that register some."
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="small, medium or large.")] = "medium",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    backend: Annotated[
        str | None, typer.Option(help="numpy, torch or numpy,torch; default: all installed.")
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            help="Other libraries beside them, with commas between: torch-plain, torch-fused, "
            "torch-compile, jax, autograd, mygrad, tinygrad; all (that are installed) or none; "
            "default: torch-plain, where torch is.",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Samples of each case on each backend.",
            show_default="15, fewer where they take more than 0.5 s",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each library; default: as they choose.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them: a .png, .svg or .pdf file.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Measure nothing; print the numbers in this file as Markdown."),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(help="Measure no time; write what a training step allocates to this file."),
    ] = None,
) -> None:
    """Measure time and memory of both backends and of other libraries, in turns in one run.

    layers: each forward, and forward with backward, on the tape. optimizers: one step of each.
    mlp, bert: a training step, from the same first weights in every library. attention: over
    growing lengths. scaling: BERT's step over length, batch and hidden size, with the exponent of
    its growth. import: a fresh interpreter, less a bare one.

    Time is the median of the samples; iqr is the width of their middle half as a share of it.
    Ratio is the time over that of torch-plain, which is torch.nn and torch.optim alone. Bound is
    the least that the work can take at this machine's best rates, measured as the run starts.
    Peak is the memory in use at once during one call, beyond inputs, parameters and optimizer
    state: as tracemalloc counts it for NumPy and as torch's profiler does for torch, in a pass
    of its own that is not timed. Buffers inside BLAS libraries are in neither.

    Ctrl-C ends the measuring; what was measured by then is shown and written.
    """
    suites = _suites(suite)
    _one_of("--size", size, SIZES)
    _one_of("--dtype", dtype, DTYPES)
    if table is not None:
        _print_table(table, suites)
        return
    if counts is not None:
        _write_counts(counts)
        return
    chosen_layers, chosen_optimizers = _named(layers)
    if layers is not None:
        named = {"layers": chosen_layers, "optimizers": chosen_optimizers}
        needed = tuple(kind for kind, names in named.items() if names)
        for kind in needed:
            if kind not in suites:
                raise SettingError(f"--layers {layers} goes with --suite {kind}; got {suite}")
        suites = needed if suite == "all" else suites
    picture = None if plot is None else _plot_format(plot)
    backends, notes = _backends(backend)

    from twingrad.benchmarks.peers.choice import chosen
    from twingrad.benchmarks.run import Request, limited, run
    from twingrad.core.files import whole_file

    request = Request(
        suites=suites,
        size=size,
        dtype=dtype,
        backends=backends,
        peers=chosen(None if peers is None else _split(peers), backends),
        layers=chosen_layers,
        optimizers=chosen_optimizers,
        repeats=repeats,
        threads=threads,
    )
    notes += _notes(request, named=layers is not None)
    with ExitStack() as outputs:
        # Opened before the work: a path that cannot be written should fail at once.
        json_file = None if json is None else outputs.enter_context(whole_file(json))
        plot_file = None if plot is None else outputs.enter_context(whole_file(plot))
        if threads is not None:
            outputs.enter_context(limited(threads, request))
        outcome = run(request, _console(), notes)
        if outcome.interrupted:
            typer.echo("twingrad: interrupted", err=True)
            if not outcome.rows:
                raise typer.Exit(INTERRUPTED)  # with nothing to write
        if json_file is not None:
            from twingrad.benchmarks.report import write_json

            write_json(json_file, outcome.facts, outcome.rows)
        if plot_file is not None and picture is not None:
            from twingrad.benchmarks.plot import write_plot

            write_plot(plot_file, picture, outcome.facts, outcome.rows)
    for path in (json, plot):
        if path is not None:
            _console().print(f"wrote {path}", markup=False, soft_wrap=True)
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, width=max(console.width, PIPED_WIDTH))


def _print_table(path: Path, suites: Sequence[str]) -> None:
    from twingrad.benchmarks.markdown import markdown, read_result

    facts, rows = read_result(path)
    found = [name for name in SUITES if any(row.suite == name for row in rows)]
    shown = found if suites == SUITES else suites
    for suite in shown:
        if suite not in found:
            has = ", ".join(found)
            raise SettingError(f"--suite must be in {path}, which has {has}; got {suite!r}")
    typer.echo(markdown(facts, rows, shown), nl=False)


def _write_counts(path: Path) -> None:
    from twingrad.benchmarks.counts import count_all, write_counts
    from twingrad.core.files import whole_file

    with whole_file(path) as file:
        write_counts(file, count_all())
    _console().print(f"wrote {path}", markup=False, soft_wrap=True)


def _suites(names: str) -> tuple[str, ...]:
    """Return the suites of these names in the order of SUITES."""
    chosen = _split(names)
    for name in chosen:
        _one_of("--suite", name, (*SUITES, "all"))
    return tuple(name for name in SUITES if name in chosen or "all" in chosen)


def _named(parts: str | None) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the layers and the optimizers that are named, or that a file registers; None is all.

    Raises UnknownNameError for a name that is neither, RegistrationError for such a file.
    """
    from twingrad.core.catalogue import LAYERS, OPTIMIZERS, discover, load_file

    discover()
    if parts is None:
        return None, None
    names: list[str] = []
    for part in _split(parts):
        names += load_file(Path(part)) if part.endswith(".py") else [part]
    for name in names:
        if name not in LAYERS and name not in OPTIMIZERS:
            raise UnknownNameError("layer or optimizer", name, [*LAYERS, *OPTIMIZERS])
    layers = tuple(dict.fromkeys(name for name in names if name in LAYERS))
    optimizers = tuple(dict.fromkeys(name for name in names if name in OPTIMIZERS))
    return layers or None, optimizers or None


def _notes(request: Request, named: bool) -> list[str]:
    """Return which layers and optimizers are left out on which backends.

    Raises SettingError for one that was named, and that none of them has.
    """
    from twingrad.benchmarks.pages import supporting

    notes = []
    for name in request.names:
        having = supporting(name, request.dtype, request.backends)
        if named and not having:
            lacking = " and ".join(request.backends)
            raise SettingError(f"--layers {name}: there is no page for it on {lacking}")
        notes += [
            f"not measured: {name} on {each}, which has no page for it"
            for each in request.backends
            if each not in having
        ]
    return notes


def _backends(names: str | None) -> tuple[tuple[str, ...], list[str]]:
    """Return the backends to measure, NumPy first, and why one that was not named is missing."""
    from twingrad.core.registry import OWN, backends, load_backend

    if names is None:
        states = {name: state for name, state in backends().items() if name in OWN}
        available = tuple(name for name, state in states.items() if state == "available")
        return available, [
            f"not measured: {name}" for name, state in states.items() if state != "available"
        ]
    chosen = _split(names)
    for name in chosen:
        if name not in OWN:
            raise UnknownNameError("backend", name, OWN)
        load_backend(name)
    return tuple(name for name in OWN if name in chosen), []


def _plot_format(path: Path) -> str:
    from twingrad.benchmarks.plot import FORMATS, plot_format

    kind = plot_format(path)
    if kind is None:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise SettingError(f"--plot must end in one of {endings}; got {str(path)!r}")
    packages.require("matplotlib", "plot")
    return kind


def _one_of(flag: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise SettingError(f"{flag} must be one of {', '.join(options)}; got {value!r}")


def _split(names: str) -> tuple[str, ...]:
    """Return the names between the commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in names.split(",")))
