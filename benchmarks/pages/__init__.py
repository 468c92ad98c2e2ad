"""What the benchmarks must know of a layer or an optimizer: a page each, where there is something.

All that a page can say may be left out:

    LENGTHS           a layer's lengths by size, where the rule of lengths.py does not fit
    VARIANTS          how it is called; else once, with all settings at their defaults
    flops             flops(lengths, settings): what the matrix products of one forward need
    torch_plain, jax  and so on: for each peer a function that imports it and returns the call

A layer's call takes the inputs in the spec's order, None for one that is not given, and by name
the settings of the variant; an optimizer's is a class, which takes parameters and settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from twingrad.core.catalogue import page
from twingrad.core.foreign import supports
from twingrad.core.registry import load_backend
from twingrad.core.spec import Settings

ROOM = "bench"  # of the pages of other packages
KEPT = 0.9  # share of True in masks, and in what dropout keeps


@dataclass(frozen=True)
class Variant:
    """A way to call it: the optional inputs that are given, the settings that differ."""

    label: str = ""
    optional: tuple[str, ...] = ()
    settings: Settings = field(default_factory=dict)


def said_of(name: str, attribute: str, default: Any = None) -> Any:
    """Return what the page of a layer or an optimizer says, or `default` if it does not."""
    return getattr(page(name, ROOM, __name__), attribute, default)


def variants_of(name: str) -> dict[str, Variant]:
    """Return the variants by what they are called: the name, and what is special about them."""
    variants: tuple[Variant, ...] = said_of(name, "VARIANTS", (Variant(),))
    return {f"{name} {variant.label}".strip(): variant for variant in variants}


def peers_of(name: str, peers: Iterable[str]) -> dict[str, Callable[[], Any]]:
    """Return for each of `peers` that the page knows the function that returns its call."""
    found = {peer: said_of(name, peer.replace("-", "_")) for peer in peers}
    return {peer: function for peer, function in found.items() if function is not None}


def supporting(name: str, dtype: str, backends: Iterable[str]) -> tuple[str, ...]:
    """Return those of `backends` that have a layer or an optimizer."""
    return tuple(each for each in backends if supports(load_backend(each), name, dtype))
