"""What the laws are tried on: cases drawn from a spec's shape strings and settings.

There are two kinds. Small cases are drawn element by element, so that Hypothesis can shrink a
counterexample to the number that matters; large ones come from a seeded generator, of which only
the seed, the lengths, the texture, the scale and the offset shrink. Textures other than the normal
distribution are there because it hides faults: at mean 0 and variance 1 many wrong gradients of a
normalisation are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from twingrad.core.arguments import number_of_places
from twingrad.core.errors import RegistrationError
from twingrad.core.spec import (
    Array,
    Arrays,
    Choice,
    Flag,
    Integer,
    LayerSpec,
    Number,
    OptimizerSpec,
    Pair,
    Structural,
)
from twingrad.parity_tests.judge.case import EVERYTHING, ORDINARY, Case, Domain, Walk
from twingrad.parity_tests.laws.table import HOLDS, told

SHAPE = (3, 5)  # of the weight that an optimizer walks with
MAX_SMALL_LENGTH = 4  # of each dimension of a small case
LARGE_LENGTHS = (1, 7, 33, 64, 127, 128, 129)  # odd, prime, and one off the width of a vector
MAX_LARGE_ELEMENTS = 12_000  # of all inputs of a large case together, or of the output


# What settings that mean the same everywhere are drawn from; others say it on their layer's page.
VALUES: dict[str, tuple[Any, ...]] = {
    "eps": (1e-12, 1e-5, 1e-3, 0.5),
    "p": (0.0, 0.1, 0.5, 0.9),
    "lr": (0.0, 1e-4, 1e-3, 0.1),
    "weight_decay": (0.0, 1e-2, 0.1),
}


@cache
def elements(dtype: str, domain: Domain) -> st.SearchStrategy[float]:
    """Draw one number: simple, spread over all magnitudes of the domain, or at its edges."""
    info = np.finfo(dtype)
    lowest = max(domain.lowest, info.minexp - info.nmant)
    highest = min(domain.highest, info.maxexp - 1)
    width: Any = np.dtype(dtype).itemsize * 8
    top = min(4.0, 2.0**highest)
    simple = st.floats(0 if domain.zero else 0.5, top, width=width, allow_subnormal=False)
    spread = st.builds(
        lambda mantissa, exponent: float(np.dtype(dtype).type(math.ldexp(mantissa, exponent))),
        st.floats(1, 2, exclude_max=True, width=16),
        st.integers(lowest, highest),
    )
    one = np.dtype(dtype).type(1)
    places = [1.0, float(np.nextafter(one, 2 * one)), float(np.nextafter(one, 0 * one))]
    if domain == EVERYTHING:
        normal = info.smallest_normal
        places += [float(x) for x in (info.max, normal, np.nextafter(normal, 0 * one))]
        places.append(float(info.smallest_subnormal))
    edges = st.sampled_from(places)
    magnitude = st.one_of(simple, spread, edges)
    if domain.positive:
        return magnitude
    return st.builds(math.copysign, magnitude, st.sampled_from([1.0, -1.0]))


@st.composite
def cases(draw: st.DrawFn, spec: LayerSpec, dtype: str, min_length: int = 0) -> Case:
    """Draw a small case, every element of it by itself."""

    def array(name: str, shape: tuple[int, ...]) -> Array:
        if name in spec.booleans:
            return draw(hnp.arrays(bool, shape), label=name)
        if name in spec.indices:
            places = _places(spec, name, shapes, settings)
            return draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(places)), label=name)
        domain = domains.get(name, ORDINARY)
        return draw(
            hnp.arrays(dtype, shape, elements=elements(dtype, domain), fill=st.nothing()),
            label=name,
        )

    domains: Mapping[str, Domain] = told(spec.name, "DOMAINS", {})
    shapes, settings = draw(calls(spec, st.integers(min_length, MAX_SMALL_LENGTH)))
    inputs = {name: array(name, shape) for name, shape in shapes.items()}
    shape = output_shape(spec, inputs, settings)
    upstream = hnp.arrays(dtype, shape, elements=elements(dtype, Domain(-3, 2)), fill=st.nothing())
    return Case(spec, inputs, settings, draw(upstream, label="grad_y"))


@st.composite
def large_cases(draw: st.DrawFn, spec: LayerSpec, dtype: str, is_smooth: bool = False) -> Case:
    """Draw a large case: seed, lengths, texture, scale and offset; the numbers come from the seed.

    A smooth one keeps away from what makes third derivatives large.
    """
    seed = draw(st.integers(0, 2**32 - 1), label="seed")
    texture = draw(st.sampled_from(["gaussian"] if is_smooth else list(TEXTURES)), label="texture")
    scales = [1.0, 8.0] if is_smooth else [1.0, 1e-3, 8.0]
    scale = draw(st.sampled_from(scales), label="scale")
    offsets = [0.0, 1.0, -30.0] if is_smooth else [0.0, 1.0, -30.0, 1e4]
    offset = draw(st.sampled_from(offsets), label="offset")
    rng = np.random.default_rng(seed)
    shapes, settings = draw(
        calls(
            spec,
            st.sampled_from(LARGE_LENGTHS),
            told(spec.name, "MOST_ELEMENTS", MAX_LARGE_ELEMENTS),
        )
    )

    if is_smooth:
        settings |= told(spec.name, "SMOOTH", {})
    domains: Mapping[str, Domain] = told(spec.name, "DOMAINS", {})
    is_positive = told(spec.name, "POSITIVE", False)

    def array(name: str, shape: tuple[int, ...]) -> Array:
        if name in spec.booleans:
            return np.asarray(rng.random(shape) < 0.7)
        if name in spec.indices:
            return np.asarray(rng.choice(_places(spec, name, shapes, settings), shape))
        values = TEXTURES[texture](rng, shape) * scale + offset
        domain = domains.get(name, ORDINARY)
        values = np.clip(values, -(2.0**domain.highest), 2.0**domain.highest)
        if is_positive or domain.positive:
            values = np.abs(values) + 0.25
        return np.asarray(values, dtype)

    inputs = {name: array(name, shape) for name, shape in shapes.items()}
    shape = output_shape(spec, inputs, settings)
    return Case(spec, inputs, settings, np.asarray(rng.standard_normal(shape), dtype))


def input_dtype(spec: LayerSpec, name: str, dtype: str) -> str:
    """Return the dtype of an input where the floating ones have `dtype`."""
    return "bool" if name in spec.booleans else "int64" if name in spec.indices else dtype


def _places(
    spec: LayerSpec, name: str, shapes: dict[str, tuple[int, ...]], settings: dict[str, Any]
) -> list[int]:
    """Return the integers that an input may hold; what is ignored, too."""
    ignored = {settings["ignore_index"]} if "ignore_index" in settings else set()
    return sorted({*range(number_of_places(spec, name, shapes)), *ignored})


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.standard_normal(shape))


def _all_magnitudes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    sizes = np.exp2(rng.uniform(-18, 3, shape))
    return np.asarray(sizes * rng.choice([-1.0, 1.0], shape))


def _constant_rows(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    rows = rng.standard_normal((*shape[:-1], 1) if shape else ())
    return np.broadcast_to(rows, shape).copy()


def _ties(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(np.round(2 * rng.standard_normal(shape)) / 2)


def _one_outlier(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = np.asarray(0.01 * rng.standard_normal(shape))
    if values.size:
        values.reshape(-1)[rng.integers(values.size)] = 5.0
    return values


TEXTURES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "gaussian": _gaussian,
    "all magnitudes": _all_magnitudes,
    "constant rows": _constant_rows,
    "ties": _ties,
    "one outlier": _one_outlier,
}


@st.composite
def calls(
    draw: st.DrawFn, spec: LayerSpec, lengths: st.SearchStrategy[int], most: int = 64
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Draw the shape of every input (of at most `most` elements together) and every setting."""
    own = told(spec.name, "calls")
    if own is not None:
        shapes, settings = draw(own(lengths))
    else:
        shapes = draw(shapes_of(spec, lengths))
        settings = {name: draw(setting(spec, name), label=name) for name in spec.settings}
    total = sum(math.prod(shape) for shape in shapes.values())
    if spec.broadcast and {*spec.broadcast} == {*spec.inputs}:
        total = max(total, math.prod(np.broadcast_shapes(*shapes.values())))
    if total > most:
        # Shorten by construction: a filter would throw most large draws away.
        rank = max(map(len, shapes.values()))
        longest = max(math.floor((most / len(shapes)) ** (1 / rank)), 1)
        return draw(calls(spec, lengths.map(lambda length: min(length, longest)), most=total))
    return shapes, settings


def setting(spec: LayerSpec | OptimizerSpec, name: str) -> st.SearchStrategy[Any]:
    """Draw a value for one setting: from its page's own, from those of its name, or its range.

    Raises RegistrationError for one that says where elements go: the layer's `calls` must draw it.
    """
    own: Mapping[str, st.SearchStrategy[Any]] = told(spec.name, "SETTINGS", {})
    if name in own:
        return own[name]
    valid = spec.settings[name]
    usual = [value for value in VALUES.get(name, ()) if valid.accepts(value)]
    if usual:
        return st.sampled_from(usual)
    if isinstance(valid, Structural):
        raise RegistrationError(
            f"{spec.name}: {name!r} says where elements go, so its page for the laws must have "
            f"{HOLDS['calls']}"
        )
    return accepted(valid)


def accepted(setting: Number | Integer | Choice | Flag | Pair) -> st.SearchStrategy[Any]:
    """Draw a value that a setting accepts: its default, the ends of its range, and some inside."""
    match setting:
        case Choice(options=options):
            return st.sampled_from(options)
        case Flag():
            return st.booleans()
        case Pair(default=default, each=each):
            return st.tuples(*(accepted(replace(each, default=number)) for number in default))
        case Integer(default=default):
            found: list[Any] = [default, 0] if setting.place else [default, 0, (default or 0) + 1]
        case Number(default=default, low=low, high=high):
            near = 1.0 if default is None else default
            found = [default, low, high, (low + high) / 2, near / 2, near * 2, near + 1, near - 1]
    return st.sampled_from(list(dict.fromkeys(filter(setting.accepts, found))))


def optimizer_settings(spec: OptimizerSpec) -> st.SearchStrategy[dict[str, Any]]:
    """Draw settings for an optimizer that go together."""
    each = {name: setting(spec, name) for name in spec.settings}
    together = st.fixed_dictionaries(each).map(told(spec.name, "compatible", dict))
    return together.filter(lambda settings: spec.refuses is None or not spec.refuses(settings))


@st.composite
def walks(draw: st.DrawFn, optimizer: OptimizerSpec, dtype: str) -> Walk:
    """Draw an optimizer's settings, and the seed of what it is given."""
    settings = draw(optimizer_settings(optimizer), label="settings")
    return Walk(optimizer, dtype, settings, draw(st.integers(0, 2**32 - 1), label="seed"))


def output_shape(spec: LayerSpec, inputs: Arrays, settings: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of the definition's output."""
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs.values()]
    with np.errstate(all="ignore"):
        if spec.variadic:
            return spec.definition(*wide, **settings).shape
        return spec.definition(**dict(zip(inputs, wide, strict=True)), **settings).shape


@st.composite
def shapes_of(
    draw: st.DrawFn, spec: LayerSpec, lengths: st.SearchStrategy[int]
) -> dict[str, tuple[int, ...]]:
    """Draw shapes that fit a layer's shape strings, optional inputs given or not."""
    lead = tuple(draw(st.lists(lengths, max_size=2), label="..."))
    # What is numbered needs a place to be at.
    numbered = {*spec.indices.values()} | {
        each.place for each in spec.settings.values() if isinstance(each, Integer)
    }
    length_of: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, text in spec.inputs.items():
        if name in spec.optional and not draw(st.booleans(), label=f"{name} given"):
            continue
        shape: tuple[int, ...] = ()
        for dim in text.split():
            if dim != "..." and dim not in length_of:
                length_of[dim] = max(draw(lengths, label=dim), int(dim in numbered))
            shape += lead if dim == "..." else (length_of[dim],)
        if name in spec.broadcast:
            shape = tuple(1 if draw(st.booleans()) else length for length in shape)
            shape = shape[draw(st.integers(0, len(shape))) :]
        shapes[name] = shape
    return shapes
