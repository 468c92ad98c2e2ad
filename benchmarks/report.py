"""Rows of measurements as tables to read and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

from rich import box
from rich.table import Table
from rich.text import Text

from twingrad.benchmarks.growth import Growth, growths
from twingrad.benchmarks.measure import Measurement

REFERENCES = ("torch-plain", "torch")  # what others are compared with: the first that was measured

# Of a duration in seconds: the smallest it is written with, the unit, and how many make a second.
TIME_UNITS = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "us", 1e6))


def by_case(rows: Sequence[Measurement]) -> dict[tuple[str, str], dict[str, Measurement]]:
    """Return the rows of each (suite, case) by backend, in the order of measurement."""
    cases: dict[tuple[str, str], dict[str, Measurement]] = {}
    for row in rows:
        cases.setdefault((row.suite, row.case), {})[row.backend] = row
    return cases


def backends_of(rows: Sequence[Measurement]) -> list[str]:
    """Return the backends that were measured, each once."""
    return list(dict.fromkeys(row.backend for row in rows))


def reference(measured: Mapping[str, Measurement]) -> Measurement | None:
    """Return the row of a case that the others are compared with; None if it stands alone."""
    if len(measured) < 2:
        return None
    return next((measured[name] for name in REFERENCES if name in measured), None)


def ratio(row: Measurement, other: Measurement) -> float:
    """Return a time over the other's: below 1 it is faster."""
    return row.median_s / other.median_s


def table(suite: str, rows: Sequence[Measurement]) -> Table:
    """Return the rows of one suite as a table, with a line for each backend."""
    grid = _grid(suite)
    grid.add_column("case")
    grid.add_column("on")
    for heading in ("time", "iqr", "ratio", "peak", "bound"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for (_, case), measured in by_case(rows).items():
        other = reference(measured)
        # The case stands beside its first backend, and how much work it is beside the second.
        names = [Text(case), Text(f"  {next(iter(measured.values())).work}", "dim")]
        if len(measured) == 1:
            names = [Text("\n").join(names)]
        for index, row in enumerate(measured.values()):
            grid.add_row(
                names[index] if index < len(names) else "",
                row.backend,
                duration(row.median_s),
                Text(spread(row), "dim"),
                _ratio_text(row, other),
                memory(row.peak_mib),
                "" if index or row.bound_s is None else Text(duration(row.bound_s), "dim"),
            )
    return grid


def growth_table(found: Sequence[Growth]) -> Table:
    """Return the exponents as a table, with a line for each curve, axis and measure."""
    grid = _grid("exponents: cost ~ size^exponent")
    backends = list(dict.fromkeys(growth.backend for growth in found))
    for heading in ("curve", "over", "of"):
        grid.add_column(heading)
    for backend in backends:
        grid.add_column(backend, justify="right")
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for growth in found:
        line = (growth.curve, growth.axis, growth_name(growth.measure))
        lines.setdefault(line, {})[growth.backend] = f"{growth.exponent:.2f}"
    for line, exponents in lines.items():
        grid.add_row(*line, *(exponents.get(backend, "") for backend in backends))
    return grid


def growth_name(measure: str) -> str:
    """Return what a measure is called in words."""
    return {"median_s": "time", "peak_mib": "memory"}[measure]


def duration(seconds: float) -> str:
    """Write a time with three digits and its unit: 1.23 ms."""
    _, unit, scale = next(entry for entry in TIME_UNITS if abs(seconds) >= entry[0])
    return f"{three_digits(seconds * scale)} {unit}"


def memory(mib: float | None) -> str:
    """Write MiB with its unit, or KiB where it is little; nothing where it is unknown."""
    if mib is None:
        return ""
    return f"{mib:.1f} MiB" if mib >= 0.1 else f"{mib * 1024:.1f} KiB"


def spread(row: Measurement) -> str:
    """Write the interquartile range as a share of the median."""
    return f"{row.iqr_s / row.median_s:.0%}"


def document(facts: Mapping[str, Any], rows: Sequence[Measurement]) -> dict[str, Any]:
    """Return what a result file holds: environment, rows, and exponents where there are curves."""
    found = [asdict(growth) for growth in growths(rows)]
    written = {"environment": dict(facts), "rows": [asdict(row) for row in rows]}
    return {**written, "exponents": found} if found else written


def write_json(file: BinaryIO, facts: Mapping[str, Any], rows: Sequence[Measurement]) -> None:
    """Write a result file."""
    text = json.dumps(document(facts, rows), indent=1, allow_nan=False)
    file.write(text.encode() + b"\n")


def three_digits(value: float) -> str:
    """Write a number with three digits, and with more behind the point only where it is tiny."""
    if 0 < value < 0.1:
        return f"{value:.2g}"
    # Compared after rounding: 9.996 is 10.0 and not 10.00.
    digits = 2 if round(value, 2) < 10 else 1 if round(value, 1) < 100 else 0
    return f"{value:.{digits}f}"


def _grid(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def _ratio_text(row: Measurement, other: Measurement | None) -> Text:
    if other is None:
        return Text("")
    value = ratio(row, other)
    return Text(three_digits(value), "dim" if row is other else "green" if value <= 1 else "yellow")
