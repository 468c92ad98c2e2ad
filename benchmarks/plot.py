"""Rows of measurements as a picture: bars of ratios, and lines over a growing size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from twingrad.benchmarks.bars import Bar, bars_height, draw_bars, ratio_bars, time_bars
from twingrad.benchmarks.lines import draw_lines, lines_height
from twingrad.benchmarks.measure import Measurement
from twingrad.benchmarks.palette import GREY
from twingrad.benchmarks.report import backends_of

FORMATS = ("png", "svg", "pdf")
WIDTH = 11  # inches
HEAD = 1.0  # inches, for title and subtitle


def plot_format(path: Path) -> str | None:
    """Return the format that the file's ending asks for, or None if it is not one of FORMATS."""
    ending = path.suffix.lower().removeprefix(".")
    return ending if ending in FORMATS else None


def write_plot(
    file: BinaryIO, kind: str, facts: Mapping[str, Any], rows: Sequence[Measurement]
) -> None:
    """Draw the rows and write the picture, `kind` being one of FORMATS.

    Cases of which others are points of a curve become lines. Of the rest a bar is the ratio of a
    backend's time to the reference's, to the left of 1 where it is faster, or the median time
    where there is nothing to compare with.
    """
    from matplotlib.figure import Figure

    single = [row for row in rows if row.curve is None]
    curves = [row for row in rows if row.curve is not None]
    bars: list[Bar] = ratio_bars(single) or time_bars(single)
    heights = [height for height in (bars_height(bars), lines_height(curves)) if height > 0]
    figure = Figure(figsize=(WIDTH, sum(heights) + HEAD), layout="constrained")
    parts = [*figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]]
    if bars:
        draw_bars(parts.pop(0), bars)
    if curves:
        draw_lines(parts.pop(0), curves)
    measured = "Time and memory" if curves else "Time"
    # The empty lines are room for the subtitle.
    title = f"{measured} of one call: {', '.join(backends_of(rows))}\n\n"
    figure.suptitle(title, fontsize=13, weight="bold")
    figure.text(
        0.5, 1 - 0.5 / (sum(heights) + HEAD), _subtitle(facts, rows),
        ha="center", va="center", fontsize=9, color=GREY,
    )  # fmt: skip
    figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _subtitle(facts: Mapping[str, Any], rows: Sequence[Measurement]) -> str:
    found, cpu, run = facts["versions"], facts["cpu"], facts["bench"]
    backends = backends_of(rows)
    packages = [
        name for name in found if any(backend.partition("-")[0] == name for backend in backends)
    ]
    parts = [f"{cpu['model']}, {cpu['cores']} cores"]
    parts += [f"{name} {found[name]}" for name in packages]
    return ", ".join([*parts, f"{run['dtype']}, {run['size']}"])
