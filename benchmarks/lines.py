"""Lines over a growing size: time and memory of each curve, with the exponent of each backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twingrad.benchmarks.growth import MEASURES, growths
from twingrad.benchmarks.measure import Measurement
from twingrad.benchmarks.palette import COLOURS, GREY
from twingrad.benchmarks.report import backends_of, duration, memory

PANEL = 2.9  # inches


def lines_height(rows: Sequence[Measurement]) -> float:
    """Return how many inches the panels need; 0 for none."""
    return PANEL * len(_curves(rows))


def draw_lines(figure: Any, rows: Sequence[Measurement]) -> None:
    """Draw time and memory of each curve beside each other into a figure of their own."""
    curves = _curves(rows)
    panels = figure.subplots(len(curves), len(MEASURES), squeeze=False)
    for (curve, axis), line in zip(curves, panels, strict=True):
        shown = [row for row in rows if (row.curve, row.axis) == (curve, axis)]
        for measure, axes in zip(MEASURES, line, strict=True):
            _draw(axes, shown, measure)
            axes.set_xlabel(axis, fontsize=8, color=GREY)
        line[0].set_title(f"{curve} over {axis}: time", fontsize=10, loc="left")
        line[1].set_title("memory", fontsize=10, loc="left")


def _curves(rows: Sequence[Measurement]) -> list[tuple[str | None, str | None]]:
    return list(dict.fromkeys((row.curve, row.axis) for row in rows if row.curve))


def _draw(axes: Any, rows: Sequence[Measurement], measure: str) -> None:
    from matplotlib.ticker import LogLocator

    exponents = {
        growth.backend: growth.exponent for growth in growths(rows) if growth.measure == measure
    }
    for backend in backends_of(rows):
        points = [
            (row.at, getattr(row, measure))
            for row in rows
            if row.backend == backend and getattr(row, measure)
        ]
        if not points:
            continue
        label = backend
        if backend in exponents:
            label += f" ~ {rows[0].axis}^{exponents[backend]:.2f}"
        sizes, values = zip(*points, strict=True)
        axes.plot(sizes, values, marker="o", markersize=3.5, color=COLOURS[backend], label=label)
    if measure == "median_s":
        bounds = sorted({(row.at, row.bound_s) for row in rows if row.at and row.bound_s})
        if bounds:
            sizes, values = zip(*bounds, strict=True)
            axes.plot(sizes, values, "--", color=GREY, linewidth=1, label="bound")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({row.at for row in rows if row.at})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter(
        lambda value, _: duration(value) if measure == "median_s" else memory(value)
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.minorticks_off()
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)
