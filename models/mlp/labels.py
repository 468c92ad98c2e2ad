"""The label column of a table: targets for two classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from twingrad.core.errors import DataError
from twingrad.core.spec import Array
from twingrad.models.tables import Table, number, some


@dataclass(frozen=True)
class Labels:
    """A label column as targets (rows) in [0, 1], and the names of class 0 and class 1.

    `soft` is True if the column held targets between 0 and 1 rather than two classes.
    """

    target: Array
    names: tuple[str, str]
    soft: bool


def read_labels(table: Table, column: str) -> Labels:
    """Return the column called `column` as targets for two classes.

    Two distinct values (numbers or words) are the classes, the larger in sorted order class 1.
    More than two are taken as they are if all are numbers in [0, 1]. Raises DataError.
    """
    if column not in table.columns:
        raise DataError(
            f"{table.path}: there is no column {column!r} to take the labels from; the columns "
            f"are {some(table.columns)}"
        )
    cells = table.column(column)
    for cell, line in zip(cells, table.lines, strict=True):
        value = number(cell)
        if not cell or (value is not None and not math.isfinite(value)):
            what = some([cell]) if cell else "nothing"
            raise DataError(
                f"{table.path}: line {line}, column {column!r}: a label must be a finite number "
                f"or a word; got {what}"
            )
    values = [number(cell) for cell in cells]
    keys: list[float] | list[str] = cells
    if None not in values:
        keys = [value for value in values if value is not None]
    spelling = dict(zip(reversed(keys), reversed(cells), strict=True))  # the first one seen stays
    distinct = sorted(spelling)  # type: ignore[type-var]
    if len(distinct) == 2:
        target = np.array([float(key == distinct[1]) for key in keys])
        return Labels(target, (spelling[distinct[0]], spelling[distinct[1]]), soft=False)
    if len(distinct) > 2 and all(isinstance(key, float) and 0 <= key <= 1 for key in distinct):
        return Labels(np.array(keys, dtype=np.float64), ("0", "1"), soft=True)
    count = "one value" if len(distinct) == 1 else f"{len(distinct)} distinct values"
    raise DataError(
        f"{table.path}: label column {column!r} has {count} "
        f"({some([spelling[key] for key in distinct])}); it must have exactly two, "
        f"or numbers in [0, 1]"
    )
