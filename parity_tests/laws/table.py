"""The laws that relate results to each other, and what else the laws must know of a layer.

A law is a function of a case and a backend's name that raises AssertionError if the backend lacks
the property. `@law` gives it to a layer by its name, or to all specs that a function picks: those
stand in every.py and optimizers.py. What belongs to one layer stands on its page, laws/<layer>.py,
or on the page that another package registered for it; the structure operations share a page. A page
is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from twingrad.core.catalogue import everything, page
from twingrad.core.errors import RegistrationError
from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import LayerSpec, OptimizerSpec

if TYPE_CHECKING:
    # `twingrad mutants` reads the pages' names where hypothesis is not installed, to say so
    from hypothesis.strategies import SearchStrategy

ROOM = "laws"  # of the pages of other packages
BIT_FOR_BIT = "bit for bit"  # ends the sentence of every law that allows no error
GENERAL = ("every", "optimizers")  # pages of the laws that are not one layer's

# What a page may hold. `bound`, and for an optimizer `size`, must be there.
HOLDS = {
    # how right a result must be
    "bound": "bound(g, **inputs, **settings): what W is for y and each gradient, see bounds.py",
    "gain": "gain(**inputs): what a result flushed to 0 is multiplied with later, if above 1",
    "truth": "truth(**inputs, **settings): the formula in mpmath, see textbook.py",
    "size": "size(path, grad): of the update that an optimizer's step rounds, see recurrence.py",
    # what is drawn
    "DOMAINS": "by input: the range that its numbers are drawn from, if not ORDINARY",
    "SETTINGS": "by setting: what its values are drawn from",
    "MOST_ELEMENTS": "how many elements a large case may have, if the definition is a slow one",
    "POSITIVE": "True: large cases are of positive numbers alone",
    "calls": "calls(lengths): draws shapes and settings, where shape strings say too little",
    "compatible": "compatible(settings): an optimizer's drawn settings, made to go together",
    # where the layer is less than smooth, or more than right
    "KINKS": "numbers at which the layer has no derivative",
    "SMOOTH": "settings with which its gradient is the derivative of its formula",
    "NO_INFINITY": "inputs that are tried with NaN, and not with infinity",
    "NOT_BESIDE_NAN": "inputs that are left out where a NaN is",
    "promised": "promised(words): what of the classes of an output is promised beside a NaN",
    "INTEGERS": "settings with which sums and products of small integers are not rounded",
    "ROUNDED_ONCE": "what the handwritten kernels compute in float64 and round once",
    "ROUNDED_WITHIN": "share of float32's bound that is allowed beside that rounding",
    "SWEEPS": "the layer as functions of one variable, see sweeps.py",
    "WITHOUT_MEMORY": "settings of an optimizer that moves by its last gradient alone",
    # laws of all that are none of this one
    "EXCEPTIONS": "by sentence of a general law: why it is no law of this layer",
}

Subject = LayerSpec | OptimizerSpec
Holds = Callable[[Any, str], None]
H = TypeVar("H", bound=Holds)


@dataclass(frozen=True)
class Law:
    """A property, and what it is tried on."""

    of: str | Callable[[Subject], bool]  # a layer's name, or which ones
    sentence: str
    holds: Holds  # takes a Case or a Descent, and the backend's name
    draws: Callable[[Any, str], SearchStrategy[Any]]
    dtypes: tuple[str, ...]  # none: of all
    uses: tuple[str, ...]  # other layers that it computes
    needs_tensors: bool  # it builds models, or goes over a tape

    @property
    def is_exact(self) -> bool:
        """Whether the law allows no error."""
        return self.sentence.endswith(BIT_FOR_BIT)


_general: dict[str, Law] = {}
_own: dict[str, dict[str, Law]] = {}


def law(
    of: str | Callable[[Subject], bool],
    sentence: str,
    *,
    draws: Callable[[Any, str], SearchStrategy[Any]],
    exact: bool = False,
    dtypes: tuple[str, ...] = (),
    uses: tuple[str, ...] = (),
    needs_tensors: bool = False,
) -> Callable[[H], H]:
    """Make a function `holds(case, backend)` a law: of the layer called `of`, or of all it picks.

    An exact law allows no error, and its sentence says so. `dtypes`: only in these; `uses`: other
    layers that it computes. Raises RegistrationError if there is another law of this sentence.
    """
    words = f"{sentence}, {BIT_FOR_BIT}" if exact else sentence
    known = _own.setdefault(of, {}) if isinstance(of, str) else _general

    def register(holds: H) -> H:
        before = known.get(words)
        if before is not None and _place(before.holds) != _place(holds):
            raise RegistrationError(
                f"law {words!r} of {of if isinstance(of, str) else 'all'}: {_place(before.holds)} "
                f"is called so; give {_place(holds)} another sentence"
            )
        known[words] = Law(of, words, holds, draws, dtypes, uses, needs_tensors)
        return holds

    return register


def _place(holds: Holds) -> str:
    return f"{holds.__module__}.{holds.__qualname__}"


def general_laws() -> dict[str, Law]:
    """Return the laws that are not one layer's, by their sentences."""
    for name in GENERAL:
        import_module(f"{__package__}.{name}")
    return dict(_general)


def own_laws(name: str) -> dict[str, Law]:
    """Return the laws that stand on a layer's own page, by their sentences."""
    page_of(name)
    return dict(_own.get(name, {}))


def laws_of(spec: Subject) -> dict[str, Law]:
    """Return all laws of a layer, operation or optimizer, its own after the general ones.

    Raises RegistrationError if its page takes exception to a law that does not exist.
    """
    general = {
        words: each for words, each in general_laws().items() if callable(each.of) and each.of(spec)
    }
    exceptions: Mapping[str, str] = told(spec.name, "EXCEPTIONS", {})
    for words in exceptions:
        if words not in general:
            raise RegistrationError(
                f"{spec.name}: EXCEPTIONS names {words!r}, which is no law of it; "
                f"the general ones are {sorted(general)}"
            )
    return {words: each for words, each in general.items() if words not in exceptions} | own_laws(
        spec.name
    )


def names_with_laws() -> list[str]:
    """Return what laws have been given to by name, on all pages that there are."""
    for name in everything():
        page_of(name)
    return [name for name, laws in _own.items() if laws]


def page_of(name: str) -> Any | None:
    """Return what the laws must know of a layer or optimizer; None if nobody wrote it."""
    if name in OPERATIONS:
        return import_module(f"{__package__}.operations").PAGES[name]
    return page(name, ROOM, str(__package__))


def told(name: str, what: str, default: Any = None) -> Any:
    """Return what a layer's page says of one thing, or the default where it says nothing."""
    assert what in HOLDS, what
    return getattr(page_of(name), what, default)


def required(name: str, what: str) -> Any:
    """Return what a layer's page must say. Raises RegistrationError where it does not."""
    found = told(name, what)
    if found is None:
        missing = "has no page" if page_of(name) is None else f"has a page without {what!r}"
        raise RegistrationError(
            f"{name} {missing} for the laws: register it with pages={{'laws': ...}}, and in it "
            f"{HOLDS[what]}"
        )
    return found
