"""A whole sweep: in processes, with progress, and taken up again where it was left."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import twingrad
from twingrad.core.environment import environment
from twingrad.core.errors import DataError
from twingrad.core.files import whole_file
from twingrad.parity_tests.runs.exhaustive.digest import digest
from twingrad.parity_tests.runs.exhaustive.functions import functions
from twingrad.parity_tests.runs.exhaustive.sweep import (
    LIMITS,
    UNSIGNED,
    Tally,
    number_of_floats,
    sweep,
)

SCHEMA = 1
CHUNK = 2**24  # floats: a few seconds of work, the most that an interruption loses
DIGITS = 60  # in which mpmath computes the truth at a witness
RESULT = "exhaustive.json"

Key = tuple[str, str]  # backend, and y or grad_x


def run(
    names: Iterable[str], dtype: str, backends: tuple[str, ...], folder: Path, jobs: int
) -> dict[str, Any]:
    """Sweep the functions called `names`; return the result, which is in `folder` as well.

    Chunks that are already in `folder`, made by the same kernels and versions, are not run again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tallies: dict[str, dict[Key, Tally]] = {}
    starts = range(0, number_of_floats(dtype), CHUNK)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    names = list(names)
    with Progress(*columns, console=Console(stderr=True)) as progress, _pool(jobs) as pool:
        task = progress.add_task("exhaustive", total=len(names) * len(starts))
        for name in names:
            progress.update(task, description=name)
            path = folder / f"{_slug(name)}-{dtype}.jsonl"
            identity = digest(name, dtype, backends)
            done = _read_chunks(path, identity)
            progress.advance(task, len(done))
            missing = [(name, dtype, start, backends) for start in starts if start not in done]
            with path.open("a", encoding="utf-8") as file:
                for start, found in pool.imap_unordered(_sweep_chunk, missing):
                    done[start] = found
                    line = {"identity": identity, "start": start, "tallies": _written(found)}
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    progress.advance(task)
            total: dict[Key, Tally] = {}
            for start in starts:
                for key, tally in done[start].items():
                    total.setdefault(key, Tally()).add(tally)
            tallies[name] = total
    result = {
        "schema": SCHEMA,
        "twingrad": twingrad.__version__,
        "dtype": dtype,
        "environment": environment(),
        "limits_ulp": list(LIMITS),
        "rows": [
            _row(name, dtype, key, tally)
            for name, total in tallies.items()
            for key, tally in total.items()
        ],
    }
    with whole_file(folder / RESULT) as out:
        out.write(json.dumps(result, indent=1).encode())
    return result


def table(result: dict[str, Any]) -> Table:
    """Return one row for each function, direction and backend."""
    made = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for header in ("function", "of", "backend"):
        made.add_column(header, no_wrap=True)
    for header in ("max ulp", "at x", "> 1 ulp", "class", "range", "order"):
        made.add_column(header, justify="right", no_wrap=True)
    for row in result["rows"]:
        faults = [str(row[name] or "-") for name in ("wrong_class", "out_of_range", "turns")]
        above = row["above"][LIMITS.index(1.0)]
        made.add_row(
            row["function"],
            row["direction"],
            row["backend"],
            _short(row["max_ulp"]),
            f"{row['max_ulp_at']['x']:.9g}",
            _percent(above, row["count"]),
            *faults,
        )
    return made


PAGE = """\
# Every {dtype}

All {count:,} bit patterns of {dtype} through each function of one variable, forward and gradient
(for an upstream gradient of 1), on both backends. The truth is computed in float64; the value at
each witness is mpmath's.

Made by `twingrad parity --exhaustive`, twingrad {twingrad}, NumPy {numpy} ({features}), torch
{torch} ({kernels}), {cpu}.

- **max ulp**: largest error where the truth is a normal number, and the x it is at.
- **> 1 ulp**: share of all inputs whose error is above that.
- **below normal**: largest error where the truth is subnormal, in units of the smallest number
  (2^-149): a result flushed to 0 shows as millions.
- **class**: NaN or infinity where the truth is not, or the other way round. **range**: values
  outside the function's own. **order**: neighbours that go down where the function only goes up,
  or the other way round.

| function | of | backend | max ulp | at x | truth there | > 1 ulp | below normal | class | range | order |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
{rows}
"""  # noqa: E501


def page(result: dict[str, Any]) -> str:
    """Return a result as a page of the documentation."""
    rows = []
    for row in result["rows"]:
        above = row["above"][LIMITS.index(1.0)]
        cells = [row["function"], row["direction"], row["backend"], _short(row["max_ulp"])]
        cells += [f"{row['max_ulp_at']['x']:.9g}", f"{float(row['truth_at_max']):.9g}"]
        cells += [_percent(above, row["count"]), _short(row["max_below_normal"])]
        cells += [f"{row[name]:,}" for name in ("wrong_class", "out_of_range", "turns")]
        rows.append("| " + " | ".join(cells) + " |")
    facts = result["environment"]
    return PAGE.format(
        dtype=result["dtype"],
        count=number_of_floats(result["dtype"]),
        twingrad=result["twingrad"],
        numpy=facts["versions"]["numpy"],
        features=(facts["cpu"]["features"] or ["baseline"])[-1],
        torch=facts["versions"]["torch"],
        kernels=facts["torch"]["kernels"],
        cpu=facts["cpu"]["model"],
        rows="\n".join(rows),
    )


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.2g} %" if count else "-"


def faults(result: dict[str, Any]) -> list[str]:
    """Return what makes a sweep fail: a NaN or infinity that is wrong, on any backend.

    Of the handwritten kernels also a range that is left (on others that may be a unit in the last
    place, and inside the bound), and a largest error of more than twice torch's.
    """
    found = []
    largest = {
        (row["function"], row["direction"], row["backend"]): row["max_ulp"]
        for row in result["rows"]
    }
    for row in result["rows"]:
        where = f"{row['function']}, {row['direction']} on {row['backend']}"
        for name, words in (
            ("wrong_class", "is NaN or infinite where it must not be, or the other way round"),
            ("out_of_range", "leaves its range"),
        ):
            if row[name] and (name == "wrong_class" or row["backend"] == "numpy"):
                at = row[f"{name}_at"]
                found.append(f"{where} {words}: {row[name]} times, first at x = {at['x']:.9g}")
        other = largest.get((row["function"], row["direction"], "torch"))
        if row["backend"] == "numpy" and other is not None and row["max_ulp"] > 2 * max(other, 0.5):
            found.append(f"{where} errs by {row['max_ulp']:.3g} ulp, torch by {other:.3g}")
    return found


def _row(name: str, dtype: str, key: Key, tally: Tally) -> dict[str, Any]:
    backend, what = key
    row: dict[str, Any] = {"function": name, "direction": what, "backend": backend}
    row["count"] = tally.count
    row |= {"max_ulp": tally.ulp, "max_ulp_at": _witness(tally.ulp_at, dtype)}
    row |= {"max_below_normal": tally.tiny, "max_below_normal_at": _witness(tally.tiny_at, dtype)}
    for fault in ("wrong_class", "out_of_range", "turns"):
        row[fault] = getattr(tally, fault)
        if row[fault]:
            row[f"{fault}_at"] = _witness(getattr(tally, f"{fault}_at"), dtype)
    confirmed = _in_many_digits(name, what, row["max_ulp_at"]["x"])
    return row | {"above": tally.above, "truth_at_max": confirmed}


def _in_many_digits(name: str, what: str, x: float) -> str:
    """Return the function's value at a witness as mpmath has it, so that anyone can check it."""
    with mpmath.workdps(DIGITS):
        return str(mpmath.nstr(functions()[name].directions[what].exact(mpmath.mpf(x)), 20))


def _witness(bits: int, dtype: str) -> dict[str, Any]:
    x = float(np.array(bits, UNSIGNED[dtype]).view(dtype))
    return {"bits": f"{bits:#x}", "x": x if np.isfinite(x) else str(x)}


def _sweep_chunk(
    work: tuple[str, str, int, tuple[str, ...]],
) -> tuple[int, dict[Key, Tally]]:
    name, dtype, start, backends = work
    stop = min(start + CHUNK, number_of_floats(dtype))
    return start, sweep(functions()[name], dtype, start, stop, backends)


def _pool(jobs: int) -> Any:
    # A fresh interpreter for each: forked after torch has started its threads, it could hang.
    return multiprocessing.get_context("spawn").Pool(jobs or os.cpu_count() or 1, _start_worker)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    torch.set_num_threads(1)


def _read_chunks(path: Path, identity: str) -> dict[int, dict[Key, Tally]]:
    """Return the chunks of a file that belong to this sweep; a line cut short is run again."""
    chunks: dict[int, dict[Key, Tally]] = {}
    if not path.exists():
        return chunks
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it to sweep anew") from None
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry.get("identity") == identity:
            chunks[entry["start"]] = {
                (item["backend"], item["direction"]): Tally(**item["tally"])
                for item in entry["tallies"]
            }
    return chunks


def _written(found: dict[Key, Tally]) -> list[dict[str, Any]]:
    return [
        {"backend": backend, "direction": what, "tally": dataclasses.asdict(tally)}
        for (backend, what), tally in found.items()
    ]


def _slug(name: str) -> str:
    return "-".join(name.replace(",", " ").split())


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:.2g}"
