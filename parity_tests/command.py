"""`twingrad parity`: run the laws, show progress, and end in a table that says who is right."""

from __future__ import annotations

import contextlib
import io
import json
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from twingrad.core.backend import load_backend
from twingrad.core.build import default_backend
from twingrad.core.errors import INTERRUPTED, BackendError, SettingError
from twingrad.core.layers import LAYERS
from twingrad.core.operations import OPERATIONS
from twingrad.core.optimizers import OPTIMIZERS
from twingrad.core.random import check_seed
from twingrad.parity_tests.options import (
    EXAMPLES,
    Options,
    parse_dtypes,
    parse_layers,
)

HERE = Path(__file__).parent
LEGEND = """\
ulp    largest error, in units in the last place of the definition's value;
       large where terms cancel and any implementation loses digits
bound  largest error as a share of what rounding can explain; above 100 %: wrong"""


@dataclass
class Row:
    """What the laws found about one layer."""

    cases: dict[tuple[str, str], int] = field(default_factory=dict)  # by dtype and tensor
    ulp: dict[tuple[str, bool], float] = field(default_factory=dict)  # by backend, gradient or not
    ratio: dict[str, float] = field(default_factory=dict)  # by backend
    failed: int = 0
    wrong: set[str] = field(default_factory=set)

    def add(self, entry: dict[str, Any], backend: str) -> None:
        """Add the worst errors that one test saw of one tensor."""
        name, what = entry["backend"], entry["what"]
        is_gradient = what.startswith("grad_")
        self.ulp[name, is_gradient] = max(self.ulp.get((name, is_gradient), 0.0), entry["ulp"])
        self.ratio[name] = max(self.ratio.get(name, 0.0), entry["ratio"])
        if name == backend:
            key = (entry["dtype"], what)
            self.cases[key] = self.cases.get(key, 0) + entry["cases"]

    @property
    def count(self) -> int:
        """How many cases were compared: those of y, and as many as the busiest gradient saw."""
        outputs = sum(n for (_, what), n in self.cases.items() if not what.startswith("grad_"))
        gradients: dict[str, int] = {}
        for (_, what), n in self.cases.items():
            if what.startswith("grad_"):
                gradients[what] = gradients.get(what, 0) + n
        return outputs + max(gradients.values(), default=0)


class Collector:
    """A pytest plugin that moves the progress bar and gathers what the tests report."""

    def __init__(self, options: Options, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.task = progress.add_task("collecting", total=None)
        self.rows: dict[str, Row] = {}
        self.passed = self.failed = 0
        self.findings: dict[str, str] = {}
        self.other: list[tuple[str, str]] = []

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.progress.update(self.task, total=len(items))

    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        self.progress.update(self.task, total=len(ids))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or (report.failed and report.when != "call"):
            self._add(report)
            self.progress.update(
                self.task, advance=1, description=f"{self.failed} failed" if self.failed else "laws"
            )

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed += 1
            self.other.append((report.nodeid, str(report.longrepr)))

    def _add(self, report: Any) -> None:
        entry: dict[str, Any] = next(
            (json.loads(value) for key, value in report.user_properties if key == "twingrad"), {}
        )
        for row in entry.get("rows", ()):
            self.rows.setdefault(row["layer"], Row()).add(row, self.options.backend)
        if report.passed:
            self.passed += 1
            return
        self.failed += 1
        layer = entry.get("layer")
        if layer:
            row = self.rows.setdefault(layer, Row())
            row.failed += 1
            row.wrong.update(*(finding["wrong"] for finding in entry.get("findings", ())))
        for finding in entry.get("findings", ()):
            self.findings.setdefault(finding["text"].splitlines()[0], finding["text"])
        if not entry.get("findings"):
            self.other.append((report.nodeid, str(report.longrepr)))


def parity(
    layers: Annotated[
        str, typer.Option(help="Only these layers, operations or optimizers: a,b,c.")
    ] = "",
    dtype: Annotated[str, typer.Option(help="The dtypes to judge.")] = "float32,float64",
    examples: Annotated[
        int, typer.Option(help="Cases drawn for each law, layer and dtype; more buys depth.")
    ] = EXAMPLES,
    seed: Annotated[
        int | None, typer.Option(help="Where the draws start; the same seed, the same cases.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="The backend under test.", show_default="TWINGRAD_BACKEND, else numpy"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The backend that is run beside it.", show_default="torch, else numpy"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes to run in; 0: one for each core.")] = 0,
) -> None:
    """Run the laws: do both backends compute what the definitions say, and if not, which is wrong?

    Exit code 0 if every law holds, 1 if one does not, 2 for a wrong call.
    """
    console = Console()
    seed = time.time_ns() % 2**32 if seed is None else seed
    backend = backend or default_backend()
    reference = reference or ("numpy" if backend == "torch" else "torch")
    for name, value, least in (("--examples", examples, 1), ("--jobs", jobs, 0)):
        if value < least:
            raise SettingError(f"{name} must be an integer >= {least}; got {value}")
    for package in ("pytest", "hypothesis"):
        if find_spec(package) is None:
            raise BackendError(
                f"{package} is not installed; install it with: pip install 'twingrad[parity]'"
            )
    options = Options(
        parse_layers(layers), parse_dtypes(dtype), examples, check_seed(seed), backend, reference
    )
    if backend == reference:
        raise SettingError(
            f"--reference must be another backend than --backend; both are {backend!r}"
        )
    for name in options.backends:
        load_backend(name)
    started = time.monotonic()
    collector, output, code = run(options, jobs)
    if code == 2 and not collector.other:  # else it could not even collect the laws
        typer.echo("twingrad: interrupted", err=True)
        raise typer.Exit(INTERRUPTED)
    if not collector.passed and not collector.failed:
        last = output.strip().splitlines()[-1:] or [f"pytest ended with code {code}"]
        raise SettingError(f"no law ran: {last[0]}")
    print_findings(console, collector)
    console.print(table(collector))
    console.print(LEGEND, style="dim", highlight=False)
    console.print(
        f"{collector.passed} laws hold, {collector.failed} do not; "
        f"{time.monotonic() - started:.0f} s, seed {seed}, {examples} examples, {dtype}",
        highlight=False,
    )
    if collector.failed or code:
        raise typer.Exit(1)


def run(options: Options, jobs: int) -> tuple[Collector, str, int]:
    """Run pytest on this folder; return what was collected, pytest's own words, its exit code."""
    import pytest

    arguments = [str(HERE), "-c", str(HERE / "suite.ini"), "--rootdir", str(HERE), "-q"]
    arguments += ["-p", "no:cacheprovider", "--tb=short", f"--hypothesis-seed={options.seed}"]
    arguments += ["--dtype", ",".join(options.dtypes), "--examples", str(options.examples)]
    arguments += ["--backend", options.backend, "--reference", options.reference]
    if options.layers:
        arguments += ["--layers", ",".join(options.layers)]
    if jobs != 1 and find_spec("xdist") is not None:
        arguments += ["-n", str(jobs or "auto")]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    words = io.StringIO()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        collector = Collector(options, progress)
        with contextlib.redirect_stdout(words):
            code = int(pytest.main(arguments, plugins=[collector]))
    return collector, words.getvalue(), code


def table(collector: Collector) -> Table:
    """Return a row for each layer: cases, the worst errors of each backend, and the verdict."""
    names = collector.options.backends
    result = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    result.add_column("\nlayer", no_wrap=True)
    result.add_column("\ncases", justify="right", no_wrap=True)
    for name in names:
        result.add_column(f"{name}\ny ulp", justify="right", no_wrap=True)
        result.add_column("\ngrad ulp", justify="right", no_wrap=True)
        result.add_column("\nbound", justify="right", no_wrap=True)
    result.add_column("\nverdict", no_wrap=True)
    for layer, row in sorted(collector.rows.items(), key=lambda item: _order(item[0])):
        cells = [layer, f"{row.count}"]
        for name in names:
            cells += [_ulp(row.ulp.get((name, False))), _ulp(row.ulp.get((name, True)))]
            cells.append(f"{100 * row.ratio.get(name, 0.0):.0f} %")
        result.add_row(*cells, _verdict(row))
    return result


def print_findings(console: Console, collector: Collector) -> None:
    """Print every disagreement, and what else went wrong."""
    for text in collector.findings.values():
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        console.print()
    for nodeid, text in collector.other:
        console.print(f"{nodeid} failed:", style="red", markup=False, highlight=False)
        lines = text.splitlines()
        console.print("\n".join(lines[-25:]), markup=False, highlight=False, soft_wrap=True)
        console.print()


def _order(layer: str) -> int:
    return [*LAYERS, *OPERATIONS, *OPTIMIZERS].index(layer)


def _verdict(row: Row) -> str:
    if row.wrong:
        return f"[red]{' and '.join(sorted(row.wrong))} wrong[/red]"
    if row.failed:
        return f"[red]{row.failed} failed[/red]"
    return "[green]agree[/green]"


def _ulp(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"
