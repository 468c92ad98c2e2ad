"""Rows of measurements as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

from rich import box
from rich.table import Table
from rich.text import Text

from twingrad.benchmarks.measure import Row

SPACIOUS = 130  # columns of text, below which case and size share one column

# Of a duration in seconds: the smallest it is written with, the unit, and how many make a second.
TIME_UNITS = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "us", 1e6))


def by_case(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Return the rows of each case by backend, in the order in which they were measured."""
    cases: dict[str, dict[str, Row]] = {}
    for row in rows:
        cases.setdefault(row.case, {})[row.backend] = row
    return cases


def table(suite: str, rows: Sequence[Row], width: int) -> Table:
    """Return the rows of one suite as a table that is readable in `width` columns of text."""
    cases = by_case(rows)
    backends = list(dict.fromkeys(row.backend for row in rows))
    spacious = width >= SPACIOUS
    grid = Table(
        title=suite,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1) if spacious else (0, 1, 0, 0),
        pad_edge=False,
    )
    grid.add_column("case")
    if spacious:
        grid.add_column("size", style="dim")
    for backend in backends:
        grid.add_column(_header(backend), justify="right", no_wrap=True)
        grid.add_column("\niqr", justify="right", style="dim", no_wrap=True)
    for other in backends[1:]:
        grid.add_column(_header(f"numpy/ {other}"), justify="right", no_wrap=True)
    for backend in backends:
        grid.add_column(_header(f"peak {backend}"), justify="right", no_wrap=True)
    for case, measured in cases.items():
        work = next(iter(measured.values())).work
        cells: list[str | Text] = [case, work]
        if not spacious:
            cells = [Text.assemble(case, (f"\n  {work}", "dim"))]
        for backend in backends:
            row = measured[backend]
            cells += [duration(row.median_s), spread(row)]
        cells += [_ratio_text(ratio(measured, other)) for other in backends[1:]]
        cells += [memory(measured[backend].peak_mib) for backend in backends]
        grid.add_row(*cells)
    return grid


def ratio(measured: Mapping[str, Row], other: str) -> float:
    """Return NumPy's time over the other backend's: below 1 NumPy is faster."""
    return measured["numpy"].median_s / measured[other].median_s


def duration(seconds: float) -> str:
    """Write a time with three digits and its unit: 1.23 ms."""
    _, unit, scale = next(entry for entry in TIME_UNITS if seconds >= entry[0])
    return f"{three_digits(seconds * scale)} {unit}"


def memory(mib: float) -> str:
    """Write MiB with its unit, or KiB where it is little."""
    return f"{mib:.1f} MiB" if mib >= 0.1 else f"{mib * 1024:.1f} KiB"


def spread(row: Row) -> str:
    """Write the interquartile range as a share of the median."""
    return f"{row.iqr_s / row.median_s:.0%}"


def write_json(file: BinaryIO, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write environment and rows: {"environment": {...}, "rows": [{"suite", "case", ...}]}."""
    document = {"environment": facts, "rows": [asdict(row) for row in rows]}
    file.write(json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")


def _header(words: str) -> str:
    """Put a column's title on two lines, one word at the bottom."""
    first, _, rest = words.partition(" ")
    return f"{first}\n{rest}" if rest else f"\n{first}"


def _ratio_text(value: float) -> Text:
    return Text(three_digits(value), "green" if value <= 1 else "yellow")


def three_digits(value: float) -> str:
    """Write a number with three digits, and with more behind the point only where it is tiny."""
    if 0 < value < 0.1:
        return f"{value:.2g}"
    # Compared after rounding: 9.996 is 10.0 and not 10.00.
    digits = 2 if round(value, 2) < 10 else 1 if round(value, 1) < 100 else 0
    return f"{value:.{digits}f}"
