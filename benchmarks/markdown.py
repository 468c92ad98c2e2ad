"""Result files as Markdown: the tables of the pages, which so cannot drift from their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from twingrad.benchmarks.growth import growths
from twingrad.benchmarks.limits import GIGA
from twingrad.benchmarks.measure import Measurement
from twingrad.benchmarks.report import (
    backends_of,
    by_case,
    duration,
    growth_name,
    memory,
    ratio,
    reference,
    three_digits,
)
from twingrad.core.errors import SettingError

# What a backend's time depends on, by the names of packages.
LIBRARIES = ("numpy", "torch", "jax", "autograd", "mygrad", "tinygrad")


def read_result(path: Path) -> tuple[dict[str, Any], list[Measurement]]:
    """Return environment and rows of a result file; raise SettingError if it is none."""
    names = [field.name for field in fields(Measurement)]
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [Measurement(**{name: row[name] for name in names}) for row in document["rows"]]
        facts: dict[str, Any] = document["environment"]
        _ = facts["bench"]["limits"]
    except OSError as error:
        raise SettingError(f"--table: cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise SettingError(
            f"--table needs a file that `twingrad bench --json` wrote; got {str(path)!r}"
        ) from None
    return facts, rows


def markdown(facts: Mapping[str, Any], rows: Sequence[Measurement], suites: Sequence[str]) -> str:
    """Return a table for each suite, and below them what they were measured on."""
    dtype, titled = facts["bench"]["dtype"], len(suites) > 1
    parts = [part for suite in suites for part in _suite(suite, dtype, rows, titled)]
    return "\n\n".join([*parts, caption(facts, rows, suites)]) + "\n"


def caption(facts: Mapping[str, Any], rows: Sequence[Measurement], suites: Sequence[str]) -> str:
    """Return one paragraph: how the numbers came about, and how to read them."""
    shown = [row for row in rows if row.suite in suites]
    cpu, found, bench = facts["cpu"], facts["versions"], facts["bench"]
    backends = backends_of(shown)
    used = [name for name in LIBRARIES if any(backend.startswith(name) for backend in backends)]
    versions = [f"{name} {found[name]}" for name in used]
    versions += [
        f"{blas['library']} {blas['version']} ({blas['architecture']}, {blas['threads']} threads)"
        for blas in facts["blas"]
        if blas["owner"] == "numpy" and blas["library"] != "openmp"
    ]
    limits = bench["limits"]
    gflops = limits["flops_per_s"] / GIGA
    gigabytes = [*limits["bytes_per_s"].values()][-1] / GIGA
    machine = f"{cpu['cores']} cores of {cpu['model']}"
    sentences = [f"Medians of one run in {bench['dtype']} on {machine}, {', '.join(versions)}."]
    others = {other.backend for row in by_case(shown).values() if (other := reference(row))}
    if others:
        sentences.append(f"In brackets: the time as a share of that of {' or '.join(others)}.")
    if any(row.bound_s is not None for row in shown):
        sentences.append(
            f"Bound: the least that the work can take, at the {three_digits(gflops)} GFLOP/s of "
            f"NumPy's matrix product and {three_digits(gigabytes)} GB/s of copying "
            f"(more in the caches)."
        )
    return " ".join(sentences)


def _suite(suite: str, dtype: str, rows: Sequence[Measurement], titled: bool) -> Iterator[str]:
    """Yield title and tables of one suite; of layers only the passes there and back again."""
    shown = [row for row in rows if row.suite == suite and not row.case.endswith(" forward")]
    if titled:
        yield f"**{suite}**"
    if suite != "scaling":
        yield _times(shown, dtype)
    if any(row.curve for row in shown):
        yield _exponents(shown)


def _times(rows: Sequence[Measurement], dtype: str) -> str:
    backends = backends_of(rows)
    has_bound = any(row.bound_s is not None for row in rows)
    lines = [["work", *backends, *(["bound"] if has_bound else [])]]
    for (_, case), measured in by_case(rows).items():
        first = next(iter(measured.values()))
        line = [f"{case}, {first.work.removeprefix(f'{dtype}, ')}"]
        line += [_cell(measured, backend) for backend in backends]
        if has_bound:
            line.append("" if first.bound_s is None else duration(first.bound_s))
        lines.append(line)
    return _table(lines)


def _cell(measured: Mapping[str, Measurement], backend: str) -> str:
    row, other = measured.get(backend), reference(measured)
    if row is None:
        return ""
    text = duration(row.median_s)
    if other is not None and other is not row:
        text += f" ({three_digits(ratio(row, other))})"
    # Over a growing length memory says as much as time.
    return f"{text}, {memory(row.peak_mib)}" if row.curve and row.peak_mib is not None else text


def _exponents(rows: Sequence[Measurement]) -> str:
    found = growths(rows)
    backends = backends_of(rows)
    values = {
        (growth.curve, growth.axis, growth.measure, growth.backend): f"{growth.exponent:.2f}"
        for growth in found
    }
    lines = [["growth: cost ~ size^exponent", *backends]]
    for curve, axis, measure in dict.fromkeys(key[:3] for key in values):
        name = f"{curve}, {growth_name(measure)} over {axis}"
        lines.append(
            [name, *(values.get((curve, axis, measure, backend), "") for backend in backends)]
        )
    return _table(lines)


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, f"|---{'|---:' * (len(lines[0]) - 1)}|", *body])
