"""`twingrad mutants`: one thing wrong in a kernel at a time, thousands of times: who notices?"""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from twingrad.core import packages
from twingrad.core.catalogue import load_file
from twingrad.core.environment import cores
from twingrad.core.errors import SettingError, UnknownNameError
from twingrad.core.files import whole_file
from twingrad.core.random import check_seed
from twingrad.core.registry import load_backend
from twingrad.parity_tests.runs.mutants.kernels import kernel_files
from twingrad.parity_tests.runs.mutants.mutant import Mutant, sample
from twingrad.parity_tests.runs.mutants.mutant import mutants as mutants_of
from twingrad.parity_tests.runs.mutants.operators import FAMILIES, OPERATORS
from twingrad.parity_tests.runs.mutants.survivors import stale

if TYPE_CHECKING:
    from twingrad.parity_tests.runs.mutants.run import Result, Results

EXAMPLES = 20  # cases of each law: as many as a run of the suite draws by default


def mutants(
    layers: Annotated[
        str, typer.Option(help="Only these kernels, by file: gelu or ./mine.py.")
    ] = "",
    operators: Annotated[str, typer.Option(help="Only these operators: sign,term,widen.")] = "",
    jobs: Annotated[int, typer.Option(help="Processes to run in; 0: one for each core.")] = 0,
    some: Annotated[
        int | None, typer.Option("--sample", help="Only so many mutants, drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Where the draws of cases and mutants start.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.")] = None,
) -> None:
    """Do the laws notice? Make one thing wrong in a handwritten kernel, and see which law fails.

    Exit code 0 if every mutant is killed or known to compute the same, 1 if one is not, 2 for a
    wrong call.
    """
    if jobs < 0:
        raise SettingError(f"--jobs must be an integer >= 0; got {jobs}")
    if some is not None and some < 1:
        raise SettingError(f"--sample must be an integer >= 1; got {some}")
    check_seed(seed)
    files, names = _files(layers)
    kernels = _parsed("kernel", names, kernel_files())
    wanted = _parsed("operator", operators, OPERATORS)
    for package in ("pytest", "hypothesis", "mpmath"):
        packages.require(package, "parity")
    for name in ("numpy", "torch"):
        load_backend(name)
    chosen = [
        mutant for kernel in kernels for mutant in mutants_of(kernel) if mutant.operator in wanted
    ]
    if some is not None:
        chosen = sample(chosen, some, seed)
    if not chosen:
        raise SettingError(f"no mutant to judge: {layers} has no place for {operators}")
    jobs = jobs or cores()
    started = time.monotonic()
    found = _judged(chosen, seed, jobs, files)
    results = found.of
    seconds = time.monotonic() - started
    from twingrad.parity_tests.runs.mutants.run import document, totals

    console = Console()
    console.print(table(results))
    print_summary(console, results, seconds, seed)
    print_survivors(console, results)
    old = stale(mutant for kernel in kernel_files() for mutant in mutants_of(kernel))
    for key in old:
        _complain(console, f"stale: a file of survivors justifies {key}, which is not a mutant")
    for law, words in found.broken.items():
        _complain(console, f"a law fails without a mutant, so it judged none: {law}\n{words}")
    if json is not None:
        written = document(found, EXAMPLES, seed, jobs, seconds)
        with whole_file(json) as file:
            file.write(jsonlib.dumps(written, indent=1).encode() + b"\n")
    if totals(results)["not_justified"] or old or found.broken:
        raise typer.Exit(1)


def _files(text: str) -> tuple[list[Path], str]:
    """Import the files in "a,./b.py"; return them, and the text with their layers instead."""
    files, names = [], []
    for part in (part.strip() for part in text.split(",")):
        if part.endswith(".py"):
            files.append(Path(part).resolve())
            names += load_file(files[-1])
        else:
            names.append(part)
    return files, ",".join(names)


def _parsed(what: str, text: str, known: Collection[str]) -> list[str]:
    """Return the names in "a,b", or all; raise UnknownNameError for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UnknownNameError(what, name, known)
    return names or list(known)


def _judged(chosen: list[Mutant], seed: int, jobs: int, files: list[Path]) -> Results:
    from twingrad.parity_tests.runs.mutants.run import run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    alive = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("mutants", total=len(chosen))

        def advance(result: Result) -> None:
            nonlocal alive
            alive += not result.verdict.killed
            words = f"{result.mutant.kernel}, {alive} alive"
            progress.update(task, advance=1, description=words)

        return run(chosen, EXAMPLES, seed, jobs, advance, files)


def table(results: Sequence[Result]) -> Table:
    """Return killed/all for each kernel and family of operators."""
    made = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    made.add_column("kernel", no_wrap=True)
    for family in (*FAMILIES, "all"):
        made.add_column(family, justify="right", no_wrap=True)
    kernels = sorted({result.mutant.kernel for result in results})
    for kernel in kernels:
        row = [result for result in results if result.mutant.kernel == kernel]
        made.add_row(kernel, *_cells(row), end_section=kernel == kernels[-1])
    made.add_row("all", *_cells(results), style="bold")
    return made


def _cells(results: Sequence[Result]) -> list[str]:
    parts = [
        [r for r in results if OPERATORS[r.mutant.operator].family == family] for family in FAMILIES
    ]
    return [_cell(part) for part in (*parts, results)]


def _cell(results: Sequence[Result]) -> str:
    if not results:
        return "-"
    killed = sum(result.verdict.killed for result in results)
    text = f"{killed}/{len(results)}"
    return f"[red]{text}[/red]" if any(result.is_hole for result in results) else text


def print_summary(console: Console, results: Sequence[Result], seconds: float, seed: int) -> None:
    """Print what became of all mutants, and which laws killed them."""
    from twingrad.parity_tests.runs.mutants.run import by_law, totals

    count = totals(results)
    share = 100 * count["killed"] / (count["mutants"] - count["equivalent"] or 1)
    killers = ", ".join(f"{kind} {number}" for kind, number in by_law(results).items())
    console.print(
        f"{count['mutants']} mutants: {count['killed']} killed, {count['equivalent']} compute the "
        f"same, {count['not_justified']} survive without a reason: {share:.2f} % of those that "
        f"differ are killed; {seconds:.0f} s, seed {seed}\nkilled by: {killers}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def print_survivors(console: Console, results: Sequence[Result]) -> None:
    """Print each mutant that lives, and why, or that nobody knows why."""
    for result in results:
        if result.verdict.killed:
            continue
        mutant = result.mutant
        place = f"{mutant.file}:{mutant.line}"
        lines = [
            f"\n{place} {mutant.function or 'constant'}, {mutant.operator}",
            f"  - {mutant.original}",
            f"  + {mutant.mutated}",
            f"  {result.reason or 'NOT JUSTIFIED'}",
        ]
        console.print(
            "\n".join(lines), markup=False, highlight=False, soft_wrap=True,
            style="red" if result.is_hole else None,
        )  # fmt: skip


def _complain(console: Console, words: str) -> None:
    console.print(f"\n{words}", style="red", markup=False, highlight=False, soft_wrap=True)
