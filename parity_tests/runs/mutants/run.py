"""All mutants through the judge, in one process or in several, and what came of it as data."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twingrad.core.catalogue import load_file
from twingrad.core.environment import versions
from twingrad.core.errors import TwingradError
from twingrad.parity_tests.runs.mutants.judge import ERROR, TIMEOUT, Judge, Verdict
from twingrad.parity_tests.runs.mutants.laws import LAWS
from twingrad.parity_tests.runs.mutants.mutant import Mutant
from twingrad.parity_tests.runs.mutants.operators import OPERATORS
from twingrad.parity_tests.runs.mutants.survivors import reasons

SCHEMA = 1
PATIENCE = 1.0  # seconds between two looks whether the workers are alive


class WorkerDied(TwingradError, RuntimeError):
    """A process that judges mutants ended before its work was done."""


@dataclass(frozen=True)
class Result:
    """A mutant, and what became of it."""

    mutant: Mutant
    verdict: Verdict

    @property
    def reason(self) -> str | None:
        """Why it cannot be killed, if that is known."""
        return reasons().get(self.mutant.key)

    @property
    def is_hole(self) -> bool:
        """Whether it lives and should not."""
        return not self.verdict.killed and self.reason is None


@dataclass
class Results:
    """What became of the mutants, in their order, and the laws that were of no use."""

    of: list[Result]
    broken: dict[str, str]  # laws that fail without any mutant, and their words


def run(
    mutants: Sequence[Mutant],
    examples: int,
    seed: int,
    jobs: int,
    progress: Callable[[Result], None],
    files: Sequence[Path] = (),
) -> Results:
    """Judge the mutants, calling `progress` after each. Raises WorkerDied.

    `files` are those of layers that are in no installed package.
    """
    groups = _groups(mutants)
    jobs = min(jobs, len(groups))
    judged = (
        _here(groups, examples, seed) if jobs <= 1 else _apart(groups, examples, seed, jobs, files)
    )
    found: dict[Mutant, Result] = {}
    broken: dict[str, str] = {}
    for item in judged:
        if isinstance(item, dict):
            broken |= item
        else:
            found[item.mutant] = item
            progress(item)
    return Results([found[mutant] for mutant in mutants], broken)


def _groups(mutants: Sequence[Mutant]) -> list[list[Mutant]]:
    """Return the mutants that need the same banks together, the largest groups first."""
    groups: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in mutants:
        # One file holds all structure operations, each with laws of its own.
        part = mutant.function.split("_backward")[0] if mutant.kernel == "operations" else ""
        groups.setdefault((mutant.kernel, part), []).append(mutant)
    return sorted(groups.values(), key=len, reverse=True)


Item = Result | dict[str, str]  # a process sends its results, and then the laws that are broken


def _here(groups: list[list[Mutant]], examples: int, seed: int) -> Iterator[Item]:
    judge = Judge(examples, seed)
    for group in groups:
        for mutant in group:
            yield _judged(judge, mutant)
    yield judge.broken


def _apart(
    groups: list[list[Mutant]], examples: int, seed: int, jobs: int, files: Sequence[Path]
) -> Iterator[Item]:
    # Started anew and not forked, since torch has threads that a fork would leave behind.
    context = multiprocessing.get_context("spawn")
    tasks: Any = context.Queue()
    results: Any = context.Queue()
    for group in [*groups, *[None] * jobs]:
        tasks.put(group)
    workers = [
        context.Process(target=_work, args=(tasks, results, examples, seed, files), daemon=True)
        for _ in range(jobs)
    ]
    waiting = sum(map(len, groups)) + jobs
    try:
        for worker in workers:
            worker.start()
        while waiting:
            try:
                item = results.get(timeout=PATIENCE)
            except queue.Empty:
                if any(worker.exitcode for worker in workers):
                    codes = [worker.exitcode for worker in workers]
                    raise WorkerDied(f"a process that judges mutants died: {codes}") from None
                continue
            waiting -= 1
            yield item
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join()


def _work(tasks: Any, results: Any, examples: int, seed: int, files: Sequence[Path]) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    torch.set_num_threads(1)
    for file in files:
        load_file(file)
    judge = Judge(examples, seed)
    while (group := _next(tasks)) is not None:
        for mutant in group:
            results.put(_judged(judge, mutant))
    results.put(judge.broken)


def _next(tasks: Any) -> list[Mutant] | None:
    """Return the next group, or None at the end; a parent that was killed is an end, too."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        try:
            group: list[Mutant] | None = tasks.get(timeout=PATIENCE)
        except queue.Empty:
            continue
        return group
    return None


def _judged(judge: Judge, mutant: Mutant) -> Result:
    # Those with a reason on record were searched for long before the reason was written.
    return Result(mutant, judge.judge(mutant, thorough=mutant.key not in reasons()))


# What came of it


def by_law(results: Sequence[Result]) -> dict[str, int]:
    """Return how many mutants each kind of law killed, and how many nothing did."""
    counts = dict.fromkeys((*LAWS, ERROR, TIMEOUT), 0)
    for result in results:
        if result.verdict.killed:
            counts[result.verdict.kind] += 1
    return {kind: count for kind, count in counts.items() if count}


def matrix(results: Sequence[Result]) -> dict[str, dict[str, list[int]]]:
    """Return [killed, all] for each kernel and operator."""
    cells: dict[str, dict[str, list[int]]] = {}
    for result in results:
        row = cells.setdefault(result.mutant.kernel, {})
        cell = row.setdefault(result.mutant.operator, [0, 0])
        cell[0] += result.verdict.killed
        cell[1] += 1
    return {
        kernel: {operator: row[operator] for operator in OPERATORS if operator in row}
        for kernel, row in sorted(cells.items())
    }


def totals(results: Sequence[Result]) -> dict[str, int]:
    """Return the numbers of mutants: all, killed, equivalent, and holes in the laws."""
    killed = sum(result.verdict.killed for result in results)
    holes = sum(result.is_hole for result in results)
    return {
        "mutants": len(results),
        "killed": killed,
        "equivalent": len(results) - killed - holes,
        "not_justified": holes,
    }


def document(found: Results, examples: int, seed: int, jobs: int, seconds: float) -> dict[str, Any]:
    """Return all that is known of a run, ready for JSON."""
    results = found.of
    return {
        "schema": SCHEMA,
        "versions": versions(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "examples": examples,
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "totals": totals(results),
        "by_law": by_law(results),
        "broken_laws": sorted(found.broken),
        "families": {name: operator.family for name, operator in OPERATORS.items()},
        "operators": {
            name: (operator.look.__doc__ or "").strip() for name, operator in OPERATORS.items()
        },
        "matrix": matrix(results),
        "survivors": [
            {
                "kernel": result.mutant.kernel,
                "file": result.mutant.file,
                "line": result.mutant.line,
                "function": result.mutant.function,
                "operator": result.mutant.operator,
                "original": result.mutant.original,
                "mutated": result.mutant.mutated,
                "reason": result.reason,
            }
            for result in results
            if not result.verdict.killed
        ],
    }
