"""The laws of the suite that mutants are judged by: its tests, with what pytest gives them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from twingrad.core.catalogue import LAYERS, OPTIMIZERS, everything
from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.options import DTYPES
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.laws.table import laws_of as properties_of

SUITE = __name__.rsplit(".", 3)[0]
# The laws, under the names that killers are counted by, quick ones first.
LAWS: dict[str, tuple[str, ...]] = {
    "forward": ("test_forward",),
    "gradient": ("test_gradient", "test_numeric_gradient"),
    "trajectory": ("test_optimizer_trajectory",),
    "special values": (
        "test_stability",
        "test_classes",
        "test_catalogue",
        "test_absence",
        "test_special_points",
    ),
    "structure": ("test_structure", "test_memory"),
    "layouts": ("test_layouts",),
    "exact": ("test_exact",),
    "rounding": ("test_rounding",),
    "properties": ("test_properties",),
    "fairness": ("test_fairness",),
    "every float": ("test_exhaustive",),
    "worst cases": ("test_ratchet",),
    "error": ("test_error_parity",),
    "tape": ("test_tape",),
}


@dataclass(frozen=True)
class Law:
    """One test of the suite, with what pytest gives it."""

    name: str
    kind: str
    test: Callable[..., Any]
    given: tuple[tuple[str, Any], ...]

    @property
    def is_drawn(self) -> bool:
        """Whether Hypothesis draws what it is tried on."""
        return hasattr(self.test, "hypothesis")

    def run(self, session: Session, data: Any = None) -> None:
        """Run the test; one that is drawn takes its values from `data`."""
        test: Any = self.test
        more: dict[str, Any] = {}
        if self.is_drawn:
            test, more = test.hypothesis.inner_test, {"data": data}
        if "session" in inspect.signature(test).parameters:
            more["session"] = session
        test(**dict(self.given), **more)


@cache
def laws_of(kind: str, subject: str) -> tuple[Law, ...]:
    """Return the laws of a kind on a layer, operation or optimizer; "": those on none by name."""
    return tuple(_laws_of(kind, subject))


def _laws_of(kind: str, subject: str) -> Iterator[Law]:
    for module in _modules(kind):
        for name, test in vars(module).items():
            if not name.startswith("test_") or not callable(test):
                continue
            wanted = set(inspect.signature(test).parameters)
            for given in _given(test, wanted, subject):
                # What needs a fixture of its own plants faults or captures output.
                if wanted <= {*given, "data", "session"}:
                    shown = ", ".join(map(_shown, given.values()))
                    yield Law(f"{name}[{shown}]", kind, test, tuple(given.items()))


def _given(test: Any, wanted: set[str], subject: str) -> Iterator[dict[str, Any]]:
    """Yield what a test is given for a subject: its spec, a property, parameters, a dtype."""
    if "sentence" in wanted:
        if subject:
            yield from _properties(everything()[subject])
        return
    argument = _spec_argument(wanted, subject)
    if argument is None and (subject or wanted & {"spec", "layer", "optimizer"}):
        return
    spec = {argument: everything()[subject]} if argument else {}
    for given in _parametrized(test, wanted):
        yield spec | given


def _properties(spec: LayerSpec | OptimizerSpec) -> Iterator[dict[str, Any]]:
    for sentence, law in properties_of(spec).items():
        for dtype in law.dtypes or DTYPES:
            yield {"subject": spec, "sentence": sentence, "in_dtype": dtype}


def _modules(kind: str) -> Iterator[ModuleType]:
    for name in LAWS[kind]:
        if find_spec(f"{SUITE}.{name}") is not None:
            yield import_module(f"{SUITE}.{name}")


def _spec_argument(wanted: set[str], subject: str) -> str | None:
    """Return the argument in which a test takes the subject's spec, if it is about such."""
    known: dict[str, Mapping[str, Any]] = {
        "spec": {**LAYERS, **OPERATIONS},
        "layer": LAYERS,
        "optimizer": OPTIMIZERS,
    }
    return next((name for name in known if name in wanted and subject in known[name]), None)


def _parametrized(test: Any, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the arguments that marks of the test give, and each dtype if it takes one."""
    axes: list[list[dict[str, Any]]] = [
        [
            dict(zip(_names(mark.args[0]), _values(mark.args[0], row), strict=True))
            for row in mark.args[1]
        ]
        for mark in getattr(test, "pytestmark", ())
        if mark.name == "parametrize"
    ]
    given = {name for axis in axes for row in axis[:1] for name in row}
    if "dtype" in wanted - given:
        axes.append([{"dtype": dtype} for dtype in reversed(DTYPES)])
    for rows in itertools.product(*axes):
        yield {name: value for row in rows for name, value in row.items()}


def _names(names: str | tuple[str, ...]) -> list[str]:
    parts = names.split(",") if isinstance(names, str) else names
    return [name.strip() for name in parts]


def _values(names: str | tuple[str, ...], row: Any) -> tuple[Any, ...]:
    row = getattr(row, "values", row) if type(row).__name__ == "ParameterSet" else row
    return tuple(row) if len(_names(names)) > 1 else (row,)


def _shown(value: Any) -> str:
    return str(getattr(value, "name", value))
