"""The frozen constants: how much of its derived bound each tensor may use, and what was measured.

`constants.json` holds a row for each layer, tensor and dtype. `c` scales the derived bound of
bounds.py; it is at most 1, since the derivation is a guarantee. `observed` is the largest error of
each backend, as a share of the derived bound, that any calibration saw. `twingrad parity
--calibrate` gives a c to what has none and changes no other; that is done by hand, by someone who
knows why: a row that is taken out is measured anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "constants.json"
SCHEMA = 1
MARGIN = 4.0  # of c over the largest error observed
LEAST = 1 / 64  # of c: below it the bound would be less than one rounding of the result

Key = tuple[str, str, str]  # layer, tensor, dtype


@cache
def frozen() -> dict[str, Any]:
    """Return what `constants.json` holds; no rows before the first calibration."""
    if not FILE.exists():
        return {"schema": SCHEMA, "measured": {}, "rows": {}}
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def constant(layer: str, what: str, dtype: str) -> float:
    """Return c, the share of its derived bound that a tensor may use; 1 if never measured."""
    return float(_row(layer, what, dtype).get("c", 1.0))


def recorded(layer: str, what: str, dtype: str, backend: str) -> float | None:
    """Return the largest share of the derived bound that a backend was seen to use."""
    observed: dict[str, float] = _row(layer, what, dtype).get("observed", {})
    return observed.get(backend)


def calibrated(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return the rows to freeze after a calibration, and each c that has lost half its margin.

    `rows` are those of a run's record. A frozen c stays; only a person may raise it.
    """
    observed: dict[Key, dict[str, float]] = {}
    for row in rows:
        seen = observed.setdefault((row["layer"], row["what"], row["dtype"]), {})
        seen[row["backend"]] = max(seen.get(row["backend"], 0.0), row["ratio"])
    kept: dict[str, Any] = json.loads(json.dumps(frozen()["rows"]))
    raised = []
    for (layer, what, dtype), seen in sorted(observed.items()):
        row = kept.setdefault(layer, {}).setdefault(what, {}).setdefault(dtype, {})
        before = row.get("observed", {})
        row["observed"] = before | {
            backend: max(rounded_up(ratio), before.get(backend, 0.0))
            for backend, ratio in seen.items()
        }
        most = max(row["observed"].values())
        row.setdefault("c", rounded_up(min(max(MARGIN * most, LEAST), 1.0)))
        if row["c"] < 1 and most > 2 / MARGIN * row["c"]:
            raised.append(f"{layer} {what} {dtype}: c is {row['c']}, and {most} was measured")
    return kept, raised


def write(rows: Mapping[str, Any], measured: Mapping[str, Any], file: Path = FILE) -> None:
    """Write the frozen file, a line for each layer, tensor and dtype."""
    lines = []
    for layer, tensors in sorted(rows.items()):
        for what, dtypes in sorted(tensors.items()):
            for dtype, row in sorted(dtypes.items()):
                ordered = {"c": row["c"], "observed": row["observed"]}
                lines.append((layer, what, dtype, json.dumps(ordered)))
    nested: dict[str, dict[str, list[str]]] = {}
    for layer, what, dtype, row in lines:
        nested.setdefault(layer, {}).setdefault(what, []).append(f'    "{dtype}": {row}')
    text = ",\n".join(
        f' "{layer}": {{\n'
        + ",\n".join(f'  "{what}": {{\n' + ",\n".join(rows) + "}" for what, rows in tensors.items())
        + "}"
        for layer, tensors in nested.items()
    )
    header = json.dumps({"schema": SCHEMA, "measured": measured}, indent=1)[:-2]
    file.write_text(f'{header},\n "rows": {{\n{text}}}\n}}\n', encoding="utf-8")
    frozen.cache_clear()


def _row(layer: str, what: str, dtype: str) -> dict[str, Any]:
    row: dict[str, Any] = frozen()["rows"].get(layer, {}).get(what, {}).get(dtype, {})
    return row


def rounded_up(value: float) -> float:
    """Return the next number of two digits that is not below."""
    if value == 0:
        return 0.0
    scale = 10.0 ** (1 - math.floor(math.log10(value)))
    return math.ceil(value * scale - 1e-9) / scale
