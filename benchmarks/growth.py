"""How cost grows with a size: the exponent that fits best, time or memory ~ size ** exponent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twingrad.benchmarks.measure import Measurement

MEASURES = ("median_s", "peak_mib")


@dataclass(frozen=True)
class Growth:
    """The exponent of one measure along one axis of a curve, on one backend."""

    suite: str
    curve: str
    axis: str
    backend: str
    measure: str
    exponent: float
    points: int


def growths(rows: Sequence[Measurement]) -> list[Growth]:
    """Return the exponent of each curve of two points or more, by least squares on logarithms."""
    curves: dict[tuple[str, str, str, str], list[Measurement]] = {}
    for row in rows:
        if row.curve is not None and row.axis is not None:
            curves.setdefault((row.suite, row.curve, row.axis, row.backend), []).append(row)
    found = []
    for key, points in curves.items():
        for measure in MEASURES:
            pairs = [(row.at, getattr(row, measure)) for row in points]
            positive = [(at, value) for at, value in pairs if at and value and value > 0]
            if len({at for at, _ in positive}) > 1:
                sizes, values = np.log(np.array(positive, np.float64)).T
                exponent = float(np.polyfit(sizes, values, 1)[0])
                found.append(Growth(*key, measure, round(exponent, 3), len(positive)))
    return found
