"""Rows of measurements as a picture: horizontal bars on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from twingrad.benchmarks.measure import Row
from twingrad.benchmarks.report import by_case, duration, ratio, three_digits

FORMATS = ("png", "svg", "pdf")
COLOURS = {"numpy": "#2b6ca3", "torch": "#d0662b"}
GREY = "#5a5a5a"
BAR_HEIGHT = 0.24  # inches


@dataclass(frozen=True)
class Bar:
    """One bar from `start` to `end`, with its name at the left and its numbers at the right."""

    suite: str
    label: str
    start: float
    end: float
    colour: str
    value: str
    note: str


def plot_format(path: Path) -> str | None:
    """Return the format that the file's ending asks for, or None if it is not one of FORMATS."""
    ending = path.suffix.lower().removeprefix(".")
    return ending if ending in FORMATS else None


def write_plot(file: BinaryIO, kind: str, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Draw the rows and write the picture, `kind` being one of FORMATS.

    With two backends a bar is the ratio of their times, to the left of 1 where NumPy is faster;
    with one it is the median time.
    """
    from matplotlib.figure import Figure

    backends = list(dict.fromkeys(row.backend for row in rows))
    compared = len(backends) > 1
    bars = ratio_bars(rows, backends) if compared else time_bars(rows)
    lines = len(bars) + 1.3 * len({bar.suite for bar in bars})
    figure = Figure(figsize=(10, BAR_HEIGHT * lines + 1.5), layout="constrained")
    axes = figure.add_subplot()
    places = _places(bars)
    _draw(axes, bars, places)
    _headings(axes, bars, places, "numpy : other" if compared else "median")
    if compared:
        _ratio_axis(axes, bars)
    else:
        axes.set_xlabel("seconds for one call (logarithmic)", color=GREY)
    figure.suptitle(_title(backends), fontsize=13, weight="bold")
    axes.set_title(f"{_subtitle(facts, backends)}\n", fontsize=9, color=GREY)
    figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def ratio_bars(rows: Sequence[Row], backends: Sequence[str]) -> list[Bar]:
    """Return a bar for each case and each backend that NumPy is compared with."""
    bars = []
    for case, measured in by_case(rows).items():
        for other in backends[1:]:
            if other not in measured:
                continue
            value = ratio(measured, other)
            bars.append(
                Bar(
                    suite=measured[other].suite,
                    label=case if other == "torch" else f"{case}, against {other}",
                    start=1.0,
                    end=value,
                    colour=COLOURS["numpy" if value <= 1 else "torch"],
                    value=three_digits(value),
                    note=f"{duration(measured['numpy'].median_s)} : "
                    f"{duration(measured[other].median_s)}",
                )
            )
    return bars


def time_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return a bar for each row, all from a common start below the shortest time."""
    start = min(row.median_s for row in rows) / 2
    return [
        Bar(
            row.suite,
            row.case,
            start,
            row.median_s,
            COLOURS[row.backend],
            "",
            duration(row.median_s),
        )
        for row in rows
    ]


def _places(bars: Sequence[Bar]) -> list[float]:
    """Return the height of each bar, counted downwards, with room above each suite's first."""
    places, place = [], 0.0
    for index, bar in enumerate(bars):
        if index == 0 or bars[index - 1].suite != bar.suite:
            place += 1.3
        places.append(place)
        place += 1.0
    return places


def _draw(axes: Any, bars: Sequence[Bar], places: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_ylim(places[-1] + 0.7, -0.2)
    for bar, place in zip(bars, places, strict=True):
        axes.barh(place, bar.end - bar.start, left=bar.start, height=0.72, color=bar.colour)
        grows = bar.end >= bar.start
        axes.annotate(
            bar.value,
            (bar.end, place),
            xytext=(4 if grows else -4, 0),
            textcoords="offset points",
            ha="left" if grows else "right",
            va="center",
            fontsize=7.5,
            color=GREY,
        )
        axes.text(
            1.02,
            place,
            bar.note,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
            color=GREY,
        )
    axes.set_yticks(places, [bar.label for bar in bars], fontsize=8)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def _headings(axes: Any, bars: Sequence[Bar], places: Sequence[float], numbers: str) -> None:
    """Write each suite's name above its bars, and at the right what the numbers are."""
    side = axes.get_yaxis_transform()
    for index, (bar, place) in enumerate(zip(bars, places, strict=True)):
        if index == 0 or bars[index - 1].suite != bar.suite:
            axes.text(
                -0.01, place - 1, bar.suite, transform=side, ha="right", va="center",
                fontsize=9, weight="bold",
            )  # fmt: skip
    axes.text(
        1.02, places[0] - 1, numbers, transform=side, va="center", fontsize=7.5, color=GREY,
        weight="bold",
    )  # fmt: skip


def _ratio_axis(axes: Any, bars: Sequence[Bar]) -> None:
    """Put a tick on every power of 2, and say on which side of 1 which backend is faster."""
    ends = [bar.end for bar in bars]
    low, high = min(0.5, *ends) / 2, max(2.0, *ends) * 2
    axes.set_xlim(low, high)
    ticks = [2.0**power for power in range(-12, 13) if low <= 2.0**power <= high]
    axes.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("time on NumPy / time on the other (logarithmic)", color=GREY)
    for text, colour, align, shift in (
        ("NumPy faster", "numpy", "right", -6),
        ("torch faster", "torch", "left", 6),
    ):
        axes.annotate(
            text, (1, 1), xycoords=("data", "axes fraction"), xytext=(shift, 2),
            textcoords="offset points", ha=align, va="bottom", color=COLOURS[colour],
            fontsize=9, weight="bold",
        )  # fmt: skip


def _title(backends: Sequence[str]) -> str:
    return "NumPy against torch: time of one call" if len(backends) > 1 else "Time of one call"


def _subtitle(facts: Mapping[str, Any], backends: Sequence[str]) -> str:
    found, cpu, run = facts["versions"], facts["cpu"], facts["bench"]
    packages = [name for name in ("numpy", "torch") if name in backends]
    parts = [f"{cpu['model']}, {cpu['cores']} cores"]
    parts += [f"{name} {found[name]}" for name in packages]
    return ", ".join([*parts, f"{run['dtype']}, {run['size']}"])
