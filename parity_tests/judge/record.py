"""How good each backend was in this process: its errors, by layer and tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twingrad.core.spec import Array
from twingrad.parity_tests.judge.options import options
from twingrad.parity_tests.judge.strategies import Case, Walk
from twingrad.parity_tests.runs import replay

# Errors are counted by their power of two: exactly 0, below 2^-5 ulp, below 2^-4, ..., above 2^22.
BINS = 30
FIRST = -5


@dataclass
class Row:
    """The errors of one tensor of one layer on one backend."""

    cases: int = 0
    elements: int = 0
    ulp: float = 0.0
    ratio: float = 0.0  # the largest share of the derived bound
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    worst: dict[str, Any] = field(default_factory=dict)
    inputs: Case | Walk | None = None  # the worst case; written out only when the row is


class Record:
    """Collects errors until they are drained into a test's report."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str, str], Row] = {}

    def add(
        self,
        key: tuple[str, str, str, str],
        ulp: Array,
        ratio: Array,
        values: tuple[Array, Array],
        indices: Array,
        inputs: Case | Walk,
    ) -> None:
        """Note one tensor's errors, in ulp and as shares of the derived bound.

        `key` is layer, dtype, tensor and backend; `values` are what came and what was expected.
        """
        row = self.rows.setdefault(key, Row())
        row.cases += 1
        row.elements += ulp.size
        row.ulp = max(row.ulp, float(np.max(ulp)))
        at = int(np.argmax(ratio))
        if float(ratio[at]) > row.ratio:
            row.ratio, row.inputs = float(ratio[at]), inputs
            got, expected = (float(side[at]) for side in values)
            index = [int(i) for i in indices[at]]
            row.worst = {"index": index, "got": got, "expected": expected, "ulp": float(ulp[at])}
        with np.errstate(invalid="ignore", over="ignore"):
            _, exponent = np.frexp(ulp)
        places = np.where(ulp == 0, 0, np.clip(exponent - FIRST + 1, 1, BINS - 1))
        places = np.where(np.isfinite(ulp), places, BINS - 1)
        counts = np.bincount(places, minlength=BINS)
        row.bins = [old + int(new) for old, new in zip(row.bins, counts, strict=True)]

    def drain(self) -> list[dict[str, Any]]:
        """Return the rows so far, as data that JSON can hold, and start anew."""
        names = ("layer", "dtype", "what", "backend")
        rows = []
        for key, row in self.rows.items():
            figures = {"cases": row.cases, "elements": row.elements, "bins": row.bins}
            worst = row.worst | {"inputs": repr(row.inputs)} if row.worst else {}
            made = dict(zip(names, key, strict=True)) | figures
            made |= {"ulp": row.ulp, "ratio": row.ratio, "worst": worst}
            if options().calibrating and row.inputs is not None:
                made["witness"] = replay.written(row.inputs)
            rows.append(made)
        self.rows.clear()
        return rows


RECORD = Record()
