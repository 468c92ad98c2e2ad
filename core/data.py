"""Data sets and batches, in an order that depends on nothing but the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from twingrad.core.errors import SettingError, ShapeError
from twingrad.core.random import check_seed, generator
from twingrad.core.spec import Array


class ArrayDataset:
    """Arrays of equal length, row by row: dataset[i] is a tuple of the i-th row of each."""

    def __init__(self, *arrays: Any) -> None:
        if not arrays:
            raise SettingError("ArrayDataset: give at least one array")
        self.arrays = tuple(np.asarray(array) for array in arrays)
        lengths = [array.shape[:1] for array in self.arrays]
        if len(set(lengths)) != 1 or lengths[0] == ():
            raise ShapeError(
                f"ArrayDataset: arrays must have one length; got shapes "
                f"{', '.join(str(array.shape) for array in self.arrays)}"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple[Array, ...]:
        return tuple(array[index] for array in self.arrays)


class DataLoader:
    """Batches of a data set: a fresh iterator for each epoch, the last batch as short as it is.

    A data set is an ArrayDataset, a tuple of arrays, or any sequence whose items are tuples of
    numbers or arrays (of any number of fields). With `shuffle`, epoch number `epoch` (which counts
    the iterators made so far) has an order of its own, drawn from `seed`.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if (
            isinstance(batch_size, bool)
            or not isinstance(batch_size, int | np.integer)
            or batch_size < 1
        ):
            raise SettingError(
                f"DataLoader: batch_size must be an integer >= 1; got {batch_size!r}"
            )
        if isinstance(dataset, tuple) and all(isinstance(array, np.ndarray) for array in dataset):
            dataset = ArrayDataset(*dataset)
        self.dataset: Sequence[Any] | ArrayDataset = dataset
        self.batch_size, self.shuffle, self.drop_last = int(batch_size), shuffle, drop_last
        self.seed = check_seed(seed)
        self.epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            generator(self.seed, "shuffle", self.epoch).shuffle(order)
        self.epoch += 1
        return self._batches(order)

    def _batches(self, order: Array) -> Iterator[tuple[Array, ...]]:
        for number in range(len(self)):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            if isinstance(self.dataset, ArrayDataset):
                yield self.dataset[rows]
            else:
                items = [self.dataset[int(row)] for row in rows]
                fields = zip(
                    *(item if isinstance(item, tuple) else (item,) for item in items), strict=True
                )
                yield tuple(np.stack([np.asarray(value) for value in field]) for field in fields)
