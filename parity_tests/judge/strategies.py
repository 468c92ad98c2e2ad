"""What the laws are tried on: cases drawn from a spec's shape strings and settings.

There are two kinds. Small cases are drawn element by element, so that Hypothesis can shrink a
counterexample to the number that matters; large ones come from a seeded generator, of which only
the seed, the lengths, the texture, the scale and the offset shrink. Textures other than the normal
distribution are there because it hides faults: at mean 0 and variance 1 many wrong gradients of a
normalisation are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from twingrad.core.arguments import number_of_places
from twingrad.core.spec import (
    Array,
    Arrays,
    Choice,
    Flag,
    LayerSpec,
    Number,
    OptimizerSpec,
    Pair,
    Setting,
)

SHAPE = (3, 5)  # of the weight that an optimizer walks with
SHOWN_ELEMENTS = 64  # of an array in a message; larger ones are abridged
MAX_SMALL_LENGTH = 4  # of each dimension of a small case
LARGE_LENGTHS = (1, 7, 33, 64, 127, 128, 129)  # odd, prime, and one off the width of a vector
MAX_LARGE_ELEMENTS = 12_000  # of all inputs of a large case together, or of the output
# The definition of attention works pair by pair, on (q, k, d) numbers.
MOST_ELEMENTS = {"attention": 3_000}


@dataclass(frozen=True)
class Case:
    """One call of one layer, and the gradient that flows into its output."""

    spec: LayerSpec
    inputs: Arrays
    settings: dict[str, Any]
    grad_y: Array = field(default_factory=lambda: np.ones(()))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.grad_y.dtype

    def __repr__(self) -> str:
        with np.printoptions(threshold=SHOWN_ELEMENTS, precision=17, floatmode="unique"):
            lines = [f"{name} = {array!r}" for name, array in self.inputs.items()]
            lines += [f"{name} = {value!r}" for name, value in self.settings.items()]
            lines.append(f"grad_y = {self.grad_y!r}")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"Case of {self.spec.name}:\n{self!r}")


@dataclass(frozen=True)
class Walk:
    """Where an optimizer goes from a drawn weight, by drawn gradients, with some settings."""

    optimizer: OptimizerSpec
    dtype: str
    settings: dict[str, Any]
    seed: int  # of the weight and of all gradients

    def __repr__(self) -> str:
        return f"settings = {self.settings}\nseed = {self.seed}"


@dataclass(frozen=True)
class Domain:
    """The numbers that an input is drawn from: 0, and 2^lowest to 2^highest of either sign."""

    lowest: int
    highest: int
    positive: bool = False
    zero: bool = True


EVERYTHING = Domain(-1074, 1023)  # cut to what the dtype holds
ORDINARY = Domain(-20, 6)  # products and sums of a few stay far from overflow and underflow

# Where the formula itself overflows or loses all digits, the contract ends: a logit of 1e30 says
# nothing about rounding. Everything not named here is ORDINARY.
DOMAINS: dict[str, dict[str, Domain]] = {
    "tanh": {"x": EVERYTHING},
    "sigmoid": {"x": EVERYTHING},
    "relu": {"x": EVERYTHING},
    "gelu": {"x": EVERYTHING},
    "neg": {"x": EVERYTHING},
    "reshape": {"x": EVERYTHING},
    "transpose": {"x": EVERYTHING},
    "cross_entropy": {"x": Domain(-20, 14), "weight": Domain(-20, 6, positive=True)},
    "softmax": {"x": Domain(-20, 14)},
    "log_softmax": {"x": Domain(-20, 14)},
    "layer_norm": {"x": Domain(-10, 20)},
    "bce_with_logits": {"x": Domain(-100, 100)},
    "exp": {"x": Domain(-20, 5)},
    "log": {"x": Domain(-60, 60, positive=True, zero=False)},
    "sqrt": {"x": Domain(-60, 60, positive=True, zero=False)},
    "pow": {"x": Domain(-3, 3, positive=True, zero=False), "y": Domain(-3, 3)},
    "div": {"y": Domain(-6, 6, zero=False)},
}

# Ranges that settings are drawn from, where the valid range is wider than is of use.
NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "padding_idx": st.sampled_from([None, 0]),
    "ignore_index": st.sampled_from([-100, 0, 1]),
    "label_smoothing": st.sampled_from([0.0, 0.1, 1.0]),
    "eps": st.sampled_from([1e-12, 1e-5, 1e-3, 0.5]),
    "scale": st.sampled_from([None, 0.125, 1.0, 1.7]),
    "p": st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    "lr": st.sampled_from([0.0, 1e-4, 1e-3, 0.1]),
    "weight_decay": st.sampled_from([0.0, 1e-2, 0.1]),
    "momentum": st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    "dampening": st.sampled_from([0.0, 0.1]),
    "betas": st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.0, 0.9, 0.999])),
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
        domain = DOMAINS.get(spec.name, {}).get(name, ORDINARY)
        return draw(
            hnp.arrays(dtype, shape, elements=elements(dtype, domain), fill=st.nothing()),
            label=name,
        )

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
            MOST_ELEMENTS.get(spec.name, MAX_LARGE_ELEMENTS),
        )
    )

    if is_smooth and "padding_idx" in settings:
        settings["padding_idx"] = None  # whose gradient is no derivative

    def array(name: str, shape: tuple[int, ...]) -> Array:
        if name in spec.booleans:
            return np.asarray(rng.random(shape) < 0.7)
        if name in spec.indices:
            return np.asarray(rng.choice(_places(spec, name, shapes, settings), shape))
        values = TEXTURES[texture](rng, shape) * scale + offset
        domain = DOMAINS.get(spec.name, {}).get(name, ORDINARY)
        values = np.clip(values, -(2.0**domain.highest), 2.0**domain.highest)
        if spec.name in ("div", "pow") or domain.positive:
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
    if spec.name in CALLS:
        shapes, settings = draw(CALLS[spec.name](lengths))
    else:
        shapes = draw(shapes_of(spec, lengths))
        settings = {name: draw(setting(name, s), label=name) for name, s in spec.settings.items()}
    total = sum(math.prod(shape) for shape in shapes.values())
    if CALLS.get(spec.name) is _broadcast:
        total = max(total, math.prod(np.broadcast_shapes(*shapes.values())))
    if total > most:
        # Shorten by construction: a filter would throw most large draws away.
        rank = max(map(len, shapes.values()))
        longest = max(math.floor((most / len(shapes)) ** (1 / rank)), 1)
        return draw(calls(spec, lengths.map(lambda length: min(length, longest)), most=total))
    return shapes, settings


def setting(name: str, spec: Setting) -> st.SearchStrategy[Any]:
    """Draw a value for one setting."""
    if name in NUMBERS:
        return NUMBERS[name]
    if isinstance(spec, Choice):
        return st.sampled_from(spec.options)
    if isinstance(spec, Flag):
        return st.booleans()
    assert isinstance(spec, Number | Pair), f"no strategy for setting {name}"
    return st.just(spec.default)


def optimizer_settings(spec: OptimizerSpec) -> st.SearchStrategy[dict[str, Any]]:
    """Draw settings for an optimizer that go together."""

    def compatible(settings: dict[str, Any]) -> dict[str, Any]:
        if settings.get("nesterov"):
            settings |= {"momentum": settings["momentum"] or 0.9, "dampening": 0.0}
        return settings

    drawn = {name: setting(name, s) for name, s in spec.settings.items()}
    return st.fixed_dictionaries(drawn).map(compatible)


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
    length_of: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, text in spec.inputs.items():
        if name in spec.optional and not draw(st.booleans(), label=f"{name} given"):
            continue
        shape: tuple[int, ...] = ()
        for dim in text.split():
            if dim != "..." and dim not in length_of:
                # What is numbered needs a place to be at.
                least = int(dim in spec.indices.values())
                length_of[dim] = max(draw(lengths, label=dim), least)
            shape += lead if dim == "..." else (length_of[dim],)
        if name in spec.broadcast:
            shape = tuple(1 if draw(st.booleans()) else length for length in shape)
            shape = shape[draw(st.integers(0, len(shape))) :]
        shapes[name] = shape
    return shapes


Lengths = st.SearchStrategy[int]
Call = st.SearchStrategy[tuple[dict[str, tuple[int, ...]], dict[str, Any]]]


@st.composite
def _broadcast(
    draw: st.DrawFn, lengths: Lengths
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    full = tuple(draw(st.lists(lengths, max_size=3), label="shape"))

    def stretched() -> tuple[int, ...]:
        shape = tuple(1 if draw(st.booleans()) else length for length in full)
        return shape[draw(st.integers(0, len(shape))) :]

    return {"x": stretched(), "y": stretched()}, {}


@st.composite
def _matmul(draw: st.DrawFn, lengths: Lengths) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    m, n, p = draw(lengths), draw(lengths), draw(lengths)
    lead = tuple(draw(st.lists(lengths, max_size=1)))
    x, y = (lead if draw(st.booleans()) else ()), (lead if draw(st.booleans()) else ())
    return {
        "x": (n,) if draw(st.booleans()) else (*x, m, n),
        "y": (n,) if draw(st.booleans()) else (*y, n, p),
    }, {}


@st.composite
def _reduce(draw: st.DrawFn, lengths: Lengths) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    shape = tuple(draw(st.lists(lengths, max_size=3), label="shape"))
    axes = st.lists(st.integers(0, max(len(shape) - 1, 0)), unique=True, min_size=1).map(tuple)
    axis: Any = draw(st.one_of(st.none(), axes) if shape else st.none(), label="axis")
    if isinstance(axis, tuple) and len(axis) == 1 and draw(st.booleans()):
        axis = axis[0] - len(shape)
    return {"x": shape}, {"axis": axis, "keepdim": draw(st.booleans(), label="keepdim")}


@st.composite
def _reshape(
    draw: st.DrawFn, lengths: Lengths
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    shape = tuple(draw(st.lists(lengths, max_size=3), label="x"))
    new = draw(st.permutations([*shape, 1]), label="shape")
    flat = draw(st.booleans(), label="flat") and 0 not in shape
    return {"x": shape}, {"shape": (-1,) if flat else tuple(new)}


@st.composite
def _transpose(
    draw: st.DrawFn, lengths: Lengths
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    shape = tuple(draw(st.lists(lengths, max_size=3), label="x"))
    axes = draw(st.one_of(st.none(), st.permutations(range(len(shape))).map(tuple)), label="axes")
    return {"x": shape}, {"axes": axes}


@st.composite
def _getitem(
    draw: st.DrawFn, lengths: Lengths
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    # One more than drawn, since there is no element 0 of nothing.
    shape = tuple(draw(st.lists(lengths.map(lambda n: n + 1), min_size=1, max_size=3), label="x"))
    positions = st.integers(-shape[0], shape[0] - 1)
    # Rows may be picked twice: their gradients must add up.
    rows = st.lists(positions, min_size=1, max_size=4).map(lambda rows: (np.array(rows),))
    # torch has no slices that run backwards, so they are not under a law of two backends.
    basic = hnp.basic_indices(shape, allow_newaxis=True).filter(_runs_forward)
    return {"x": shape}, {"index": draw(st.one_of(basic, rows), label="index")}


def _runs_forward(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(not isinstance(part, slice) or (part.step or 1) > 0 for part in parts)


@st.composite
def _concat(draw: st.DrawFn, lengths: Lengths) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    shape = draw(st.lists(lengths, min_size=1, max_size=3), label="shape")
    axis = draw(st.integers(-len(shape), len(shape) - 1), label="axis")
    shapes = {}
    for index in range(draw(st.integers(1, 3), label="arrays")):
        own = list(shape)
        own[axis] = draw(lengths)
        shapes[f"x{index}"] = tuple(own)
    return shapes, {"axis": axis}


CALLS: dict[str, Any] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "pow"), _broadcast),
    **dict.fromkeys(("sum", "mean"), _reduce),
    "matmul": _matmul,
    "reshape": _reshape,
    "transpose": _transpose,
    "getitem": _getitem,
    "concat": _concat,
}
