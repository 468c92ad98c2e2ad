"""One run of the laws in this process: pytest, with a progress bar, and a table at the end."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.operations import OPERATIONS
from twingrad.parity_tests.judge.constants import constant
from twingrad.parity_tests.judge.options import Options

HERE = Path(__file__).parent.parent  # the laws
MEASURING = (
    "test_forward.py",
    "test_gradient.py",
    "test_layouts.py",
    "test_optimizer_trajectory.py",
)
LEGEND = """\
ulp    largest error, in units in the last place of the definition's value;
       large where terms cancel and any implementation loses digits
bound  largest error as a share of what is allowed; above 100 %: wrong"""


@dataclass
class Row:
    """What the laws found about one layer."""

    cases: dict[tuple[str, str], int] = field(default_factory=dict)  # by dtype and tensor
    ulp: dict[tuple[str, bool], float] = field(default_factory=dict)  # by backend, gradient or not
    share: dict[str, float] = field(default_factory=dict)  # of the bound, by backend
    failed: int = 0
    wrong: set[str] = field(default_factory=set)
    worse: set[str] = field(default_factory=set)

    def add(self, entry: Mapping[str, Any], backend: str) -> None:
        """Add the errors that one test saw of one tensor."""
        name, what = entry["backend"], entry["what"]
        is_gradient = what.startswith("grad_")
        self.ulp[name, is_gradient] = max(self.ulp.get((name, is_gradient), 0.0), entry["ulp"])
        share = entry["ratio"] / constant(entry["layer"], what, entry["dtype"])
        self.share[name] = max(self.share.get(name, 0.0), share)
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
        self.laws: list[dict[str, Any]] = []  # one for each test that ran
        self.measured: list[dict[str, Any]] = []  # the record's rows, each with its law
        self.passed = self.failed = 0
        self.findings: dict[tuple[str, ...], str] = {}  # the plainest of each layer, dtype, tensor
        self.other: list[tuple[str, str, str | None]] = []  # test, what it said, layer

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.progress.update(self.task, total=len(items))

    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        self.progress.update(self.task, total=len(ids))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or (report.failed and report.when != "call"):
            self._add(report)
            words = f"{self.failed} failed" if self.failed else "laws"
            self.progress.update(self.task, advance=1, description=words)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed += 1
            self.other.append((report.nodeid, str(report.longrepr), None))

    def _add(self, report: Any) -> None:
        entry: dict[str, Any] = next(
            (json.loads(value) for key, value in report.user_properties if key == "twingrad"), {}
        )
        rows, found = entry.pop("rows", ()), entry.pop("findings", ())
        for row in rows:
            self.rows.setdefault(row["layer"], Row()).add(row, self.options.backend)
            self.measured.append({"law": entry["law"], "file": entry["file"], **row})
        # A deviation of torch itself is kept as a failure that is expected.
        holds = report.passed or (report.skipped and hasattr(report, "wasxfail"))
        self.laws.append(
            {
                "node": report.nodeid,
                **entry,
                "outcome": "passed" if report.passed else "expected" if holds else "failed",
                "seconds": round(report.duration, 3),
                "findings": list(found),
                "message": "" if holds else str(report.longrepr),
            }
        )
        if holds:
            self.passed += 1
            return
        self.failed += 1
        layer = entry.get("layer")
        if layer:
            row = self.rows.setdefault(layer, Row())
            row.failed += 1
            for finding in found:
                row.wrong.update(finding["wrong"])
                row.worse.update(finding["worse"])
        for finding in found:
            key = (str(layer), str(entry.get("dtype")), finding["tensor"])
            plainest = self.findings.get(key, finding["text"])
            self.findings[key] = min(plainest, finding["text"], key=len)
        if not found:
            self.other.append((report.nodeid, str(report.longrepr), layer))


def run(
    options: Options, jobs: int, files: tuple[str, ...] = (), quiet: bool = False
) -> tuple[Collector, str, int]:
    """Run pytest on this folder; return what was collected, pytest's own words, its exit code.

    `files` are names of law files; empty: all of them.
    """
    import pytest

    arguments = [str(HERE / file) for file in files] or [str(HERE)]
    arguments += ["-c", str(HERE / "suite.ini"), "--rootdir", str(HERE), "-q"]
    arguments += ["-p", "no:cacheprovider", "--tb=short", f"--hypothesis-seed={options.seed}"]
    arguments += ["--dtype", ",".join(options.dtypes), "--examples", str(options.examples)]
    arguments += ["--backend", options.backend, "--reference", options.reference]
    arguments += ["--profile", options.profile]
    if options.calibrating:
        arguments.append("--calibrating")
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
    console = Console(stderr=True, quiet=quiet)
    with Progress(*columns, console=console, transient=True) as progress:
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
            share = 100 * row.share.get(name, 0.0)
            cells.append(f"{share:.0f} %" if share < 1000 else "> 999 %")
        result.add_row(*cells, _verdict(row))
    return result


def print_findings(console: Console, collector: Collector) -> None:
    """Print one disagreement for each tensor, and what else went wrong.

    Of a layer that disagrees, the other laws that it breaks are only named.
    """
    more: dict[str | None, list[str]] = {}
    for nodeid, _, layer in collector.other:
        more.setdefault(layer, []).append(nodeid)
    for text in dict.fromkeys(collector.findings.values()):
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        console.print()
    disagreeing = {layer for layer, _, _ in collector.findings}
    for layer in sorted(disagreeing):
        laws = {nodeid.rpartition("::")[2].partition("[")[0] for nodeid in more.get(layer, ())}
        if laws:
            words = f"{layer} breaks more laws: {', '.join(sorted(laws))}\n"
            console.print(words, markup=False, highlight=False, soft_wrap=True)
    for nodeid, text, layer in collector.other:
        if layer in disagreeing:
            continue
        console.print(f"{nodeid} failed:", style="red", markup=False, highlight=False)
        lines = text.splitlines()
        console.print("\n".join(lines[-25:]), markup=False, highlight=False, soft_wrap=True)
        console.print()


def _order(layer: str) -> int:
    return [*LAYERS, *OPERATIONS, *OPTIMIZERS].index(layer)


def _verdict(row: Row) -> str:
    if row.wrong:
        return f"[red]{' and '.join(sorted(row.wrong))} wrong[/red]"
    if row.worse:
        return f"[red]{' and '.join(sorted(row.worse))} worse[/red]"
    if row.failed:
        return f"[red]{row.failed} failed[/red]"
    return "[green]agree[/green]"


def _ulp(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"
