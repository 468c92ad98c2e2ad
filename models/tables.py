"""CSV files, read strictly: an error names its line and column."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twingrad.core.errors import DataError
from twingrad.core.spec import Array

BOM = b"\xef\xbb\xbf"
LARGEST = 1e150  # the square of a larger number overflows float64, and with it the variance
SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file as text, each row with the line of the file that it ends on."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def numbers(self, names: Sequence[str]) -> Array:
        """Return these columns as float64 (rows, names).

        Raises DataError, with line and column, for a cell that is not a finite number.
        """
        indices = [self.columns.index(name) for name in names]
        array = np.empty((len(self.rows), len(names)))
        for place, (row, line) in enumerate(zip(self.rows, self.lines, strict=True)):
            for at, index in enumerate(indices):
                array[place, at] = self._number(row[index], line, names[at])
        return array

    def _number(self, cell: str, line: int, column: str) -> float:
        where = f"{self.path}: line {line}, column {column!r}"
        if not cell:
            raise DataError(f"{where}: the cell is empty; it must be a number")
        value = number(cell)
        if value is None:
            raise DataError(f"{where}: {_quoted(cell)} is not a number")
        if not math.isfinite(value):
            raise DataError(f"{where}: {_quoted(cell)} is not a finite number")
        if abs(value) > LARGEST:
            raise DataError(
                f"{where}: {_quoted(cell)} is too large; at most {LARGEST:g} is allowed"
            )
        return value


def read_table(path: Path) -> Table:
    """Read a CSV file with a header: UTF-8 (with or without a byte order mark), commas.

    Raises DataError for a file that cannot be read or is not such a table.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if any(cells) or len(cells) > 1:
                records.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: it is not valid CSV: {error}") from None
    if not records:
        raise DataError(f"{path}: the file is empty; it must have a header and rows")
    columns = tuple(records[0][1])
    _check_columns(path, columns)
    if len(records) == 1:
        raise DataError(f"{path}: there is a header, but no row below it")
    for line, cells in records[1:]:
        if len(cells) != len(columns):
            raise DataError(
                f"{path}: line {line}: the header has {len(columns)} columns, so every row must "
                f"have as many; got {len(cells)}"
            )
    lines, rows = zip(*records[1:], strict=True)
    return Table(path, columns, list(rows), list(lines))


def number(cell: str) -> float | None:
    """Return the number that `cell` spells, or None; Python's 1_000 is not accepted."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def some(names: Sequence[str]) -> str:
    """Return the first few names for a message, and how many more there are."""
    shown = ", ".join(_quoted(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path}: it cannot be read: {error.strerror or error}") from None
    start = len(BOM) if content.startswith(BOM) else 0
    try:
        return content[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        raise DataError(
            f"{path}: it is not UTF-8: byte 0x{content[offset]:02x} at offset {offset}; "
            f"save the file as UTF-8"
        ) from None


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    if "" in columns:
        raise DataError(f"{path}: column {columns.index('') + 1} of the header has no name")
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: the header names a column twice: {some(repeated)}")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
