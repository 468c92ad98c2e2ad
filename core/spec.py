"""A layer or an optimizer as data: everything about it but how a backend computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A setting that is a real number between `low` and `high`, both included."""

    default: float | None
    low: float = -math.inf
    high: float = math.inf
    below: bool = False  # True: `high` itself is out of range
    above: bool = False  # True: `low` itself is out of range

    @property
    def valid(self) -> str:
        """The range in words, for messages and tables."""
        if math.isinf(self.low) and math.isinf(self.high):
            words = "a finite number"
        elif math.isinf(self.high):
            words = f"a number {'>' if self.above else '>='} {self.low:g}"
        else:
            words = f"a number in {'(' if self.above else '['}{self.low:g}, {self.high:g}"
            words += ")" if self.below else "]"
        return words if self.default is not None else f"{words}, or None"

    def accepts(self, value: object) -> bool:
        if value is None:
            return self.default is None
        if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
            return False
        number = float(value)
        if not math.isfinite(number) or number < self.low or number > self.high:
            return False
        return not (self.above and number == self.low) and not (self.below and number == self.high)


@dataclass(frozen=True, slots=True)
class Integer:
    """A setting that is an integer, of at least `low` if there is one.

    `place`: it is the number of a place along this dimension.
    """

    default: int | None
    place: str = ""
    low: int | None = None

    @property
    def valid(self) -> str:
        words = "an integer" if self.low is None else f"an integer >= {self.low}"
        words = f"an integer in 0...{self.place} - 1" if self.place else words
        return words if self.default is not None else f"{words}, or None"

    def accepts(self, value: object) -> bool:
        if value is None:
            return self.default is None
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            return False
        least = 0 if self.place else self.low
        return least is None or bool(value >= least)


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting that is one of a few words."""

    default: str
    options: tuple[str, ...]

    @property
    def valid(self) -> str:
        return " | ".join(self.options)

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and value in self.options


@dataclass(frozen=True, slots=True)
class Flag:
    """A setting that is True or False."""

    default: bool = False

    @property
    def valid(self) -> str:
        return "True or False"

    def accepts(self, value: object) -> bool:
        return isinstance(value, bool | np.bool_)


@dataclass(frozen=True, slots=True)
class Pair:
    """A setting that is two numbers of one range, such as Adam's betas."""

    default: tuple[float, float]
    each: Number

    @property
    def valid(self) -> str:
        return f"two numbers, each {self.each.valid}"

    def accepts(self, value: object) -> bool:
        return (
            isinstance(value, tuple | list)
            and len(value) == 2
            and all(map(self.each.accepts, value))
        )


@dataclass(frozen=True, slots=True)
class Structural:
    """A setting that says where elements go: an axis, a shape, an index.

    Whether it fits depends on the array, so the operation itself checks it.
    """

    default: Any
    valid: str

    def accepts(self, value: object) -> bool:
        return True


REDUCTION = Choice("mean", ("mean", "sum", "none"))  # of a loss

Setting = Number | Integer | Choice | Flag | Pair | Structural


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LayerSpec:
    """One layer: its formula, its inputs and its settings, in the order every backend keeps.

    A shape is a string of dimension names, outermost first. A name that occurs twice stands for
    one length, and `...` for one leading shape of any number of dimensions.
    """

    name: str
    formula: str
    inputs: Mapping[str, str]
    output: str
    source: str
    definition: Callable[..., Array]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    broadcast: tuple[str, ...] = ()  # any shape that broadcasts to the one written
    booleans: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()  # floating, but data: no gradient flows to them
    indices: Mapping[str, str] = field(default_factory=dict)  # integers: places along a dimension
    labels: tuple[str, ...] = ()  # NaN is refused here, since no loss can mean it
    variadic: bool = False  # as many inputs as one likes, named x0, x1, ...
    meaning: str = ""  # what could be misread

    def __repr__(self) -> str:
        return f"<layer {self.name}: {self.formula}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The inputs that get a gradient, in the order of `inputs`."""
        data = {*self.booleans, *self.constants, *self.indices}
        return tuple(name for name in self.inputs if name not in data)

    def defaults(self) -> dict[str, Any]:
        """Return every setting with its default."""
        return {name: setting.default for name, setting in self.settings.items()}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class OptimizerSpec:
    """One optimizer: its recurrence line by line, its state and its settings."""

    name: str
    recurrence: tuple[str, ...]
    state: tuple[str, ...]  # arrays of the parameter's shape, beside the number of steps
    source: str
    definition: Callable[..., tuple[Array, Arrays]]
    settings: Mapping[str, Setting]
    refuses: Callable[[Settings], str | None] | None = None  # why settings do not go together
    meaning: str = ""

    def __repr__(self) -> str:
        return f"<optimizer {self.name}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def defaults(self) -> dict[str, Any]:
        """Return every setting with its default."""
        return {name: setting.default for name, setting in self.settings.items()}
