"""Horizontal bars on a logarithmic axis: each case's times beside the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twingrad.benchmarks.measure import Measurement
from twingrad.benchmarks.palette import COLOURS, GREY
from twingrad.benchmarks.report import by_case, duration, ratio, reference, three_digits

BAR_HEIGHT = 0.2  # inches
SUITE_GAP = 1.6  # bars, above the first of a suite
CASE_GAP = 0.35  # bars, above the first of a case


@dataclass(frozen=True)
class Bar:
    """One bar from `start` to `end`, with its name at the left and its numbers at the right."""

    suite: str
    case: str
    backend: str
    start: float
    end: float
    value: str
    note: str
    against: str = ""  # the reference, where the bar is a ratio


def ratio_bars(rows: Sequence[Measurement]) -> list[Bar]:
    """Return a bar for each backend of each case that has a reference, but the reference."""
    bars = []
    for (suite, case), measured in by_case(rows).items():
        other = reference(measured)
        for backend, row in measured.items():
            # Less than a bare interpreter is noise, and no ratio.
            if other is None or row is other or min(row.median_s, other.median_s) <= 0:
                continue
            value = ratio(row, other)
            note = f"{duration(row.median_s)} : {duration(other.median_s)}"
            against = other.backend
            bars.append(Bar(suite, case, backend, 1.0, value, three_digits(value), note, against))
    return bars


def time_bars(rows: Sequence[Measurement]) -> list[Bar]:
    """Return a bar for each row, all from a common start below the shortest time."""
    shown = [row for row in rows if row.median_s > 0]
    start = min((row.median_s for row in shown), default=1.0) / 2
    return [
        Bar(row.suite, row.case, row.backend, start, row.median_s, "", duration(row.median_s))
        for row in shown
    ]


def bars_height(bars: Sequence[Bar]) -> float:
    """Return how many inches the bars need; 0 for none."""
    return BAR_HEIGHT * (_places(bars)[-1] + 1) + 0.9 if bars else 0.0


def draw_bars(figure: Any, bars: Sequence[Bar]) -> None:
    """Draw the bars into a figure of their own."""
    axes = figure.add_subplot()
    places = _places(bars)
    axes.set_xscale("log")
    axes.set_ylim(places[-1] + 0.7, -0.4)
    for bar, place in zip(bars, places, strict=True):
        axes.barh(
            place, bar.end - bar.start, left=bar.start, height=0.78, color=COLOURS[bar.backend]
        )
        grows = bar.end >= bar.start
        axes.annotate(
            bar.value, (bar.end, place), xytext=(4 if grows else -4, 0),
            textcoords="offset points", ha="left" if grows else "right", va="center",
            fontsize=7, color=GREY,
        )  # fmt: skip
        axes.text(
            1.02, place, bar.note, transform=axes.get_yaxis_transform(), va="center",
            fontsize=7, color=GREY,
        )  # fmt: skip
    # A case is named beside its first bar; the others are told apart by their colours.
    firsts = [number for number, bar in enumerate(bars) if _starts_case(bars, number)]
    axes.set_yticks(
        [places[number] for number in firsts], [bars[number].case for number in firsts], fontsize=8
    )
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    _headings(axes, bars, places)
    if bars[0].against:
        _ratio_axis(axes, bars)
    else:
        axes.set_xlabel("seconds for one call (logarithmic)", color=GREY)
    _legend(axes, bars)


def _starts_case(bars: Sequence[Bar], number: int) -> bool:
    return number == 0 or bars[number - 1].case != bars[number].case


def _starts_suite(bars: Sequence[Bar], number: int) -> bool:
    return number == 0 or bars[number - 1].suite != bars[number].suite


def _places(bars: Sequence[Bar]) -> list[float]:
    """Return the height of each bar, counted downwards, with room above each suite and case."""
    places, place = [], 0.0
    for number in range(len(bars)):
        if _starts_suite(bars, number):
            place += SUITE_GAP
        elif _starts_case(bars, number):
            place += CASE_GAP
        places.append(place)
        place += 1.0
    return places


def _headings(axes: Any, bars: Sequence[Bar], places: Sequence[float]) -> None:
    """Write each suite's name above its bars, and at the right what the numbers are."""
    side = axes.get_yaxis_transform()
    for number, (bar, place) in enumerate(zip(bars, places, strict=True)):
        if _starts_suite(bars, number):
            axes.text(
                -0.01, place - 1, bar.suite, transform=side, ha="right", va="center",
                fontsize=9, weight="bold",
            )  # fmt: skip
    numbers = f"time : {bars[0].against}" if bars[0].against else "median"
    axes.text(
        1.02, places[0] - 1, numbers, transform=side, va="center", fontsize=7.5, color=GREY,
        weight="bold",
    )  # fmt: skip


def _ratio_axis(axes: Any, bars: Sequence[Bar]) -> None:
    """Put a tick on every power of 2, and say on which side of 1 it is faster."""
    ends = [bar.end for bar in bars]
    low, high = min(0.5, *ends) / 2, max(2.0, *ends) * 2
    axes.set_xlim(low, high)
    ticks = [2.0**power for power in range(-12, 13) if low <= 2.0**power <= high]
    axes.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=1)
    against = bars[0].against
    axes.set_xlabel(f"time / time of {against} (logarithmic)", color=GREY)
    for text, align, shift in (("faster", "right", -6), ("slower", "left", 6)):
        axes.annotate(
            f"{text} than {against}", (1, 1), xycoords=("data", "axes fraction"),
            xytext=(shift, 2), textcoords="offset points", ha=align, va="bottom", color=GREY,
            fontsize=8, weight="bold",
        )  # fmt: skip


def _legend(axes: Any, bars: Sequence[Bar]) -> None:
    from matplotlib.patches import Patch

    backends = list(dict.fromkeys(bar.backend for bar in bars))
    handles = [Patch(color=COLOURS[backend], label=backend) for backend in backends]
    axes.figure.legend(handles=handles, loc="outside upper right", fontsize=8, frameon=False,
                       ncols=len(handles))  # fmt: skip
