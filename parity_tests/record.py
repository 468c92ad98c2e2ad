"""How good each backend was in this process: the worst errors, by layer and tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array


class Record:
    """Collects errors until they are drained into a test's report."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}

    def add(
        self, layer: str, dtype: str, what: str, backend: str, ulp: Array, ratio: Array
    ) -> None:
        """Note the errors of one tensor of one case: in ulp, and as parts of its bound."""
        row = self.rows.setdefault(
            (layer, dtype, what, backend), {"cases": 0, "ulp": 0.0, "ratio": 0.0}
        )
        row["cases"] += 1
        row["ulp"] = max(row["ulp"], float(np.max(ulp)))
        row["ratio"] = max(row["ratio"], float(np.max(ratio)))

    def drain(self) -> list[dict[str, Any]]:
        """Return the rows so far, as data that JSON can hold, and start anew."""
        rows = [
            dict(zip(("layer", "dtype", "what", "backend"), key, strict=True)) | row
            for key, row in self.rows.items()
        ]
        self.rows.clear()
        return rows


RECORD = Record()
