"""Every layer, forward and forward with backward, on the arrays that its spec describes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from twingrad.benchmarks.measure import Call, Case, prepare_each
from twingrad.core.arguments import full_settings
from twingrad.core.backend import Backend, load_backend
from twingrad.core.layers import LAYERS
from twingrad.core.shapes import Lengths
from twingrad.core.spec import Array, Arrays, LayerSpec, Settings

SEED = 0
KEPT = 0.9  # share of True in masks and in what dropout keeps

ELEMENTWISE: dict[str, Lengths] = {
    "small": {"...": (64, 256)},
    "medium": {"...": (1024, 1024)},
    "large": {"...": (4096, 2048)},
}
ROWS: dict[str, Lengths] = {
    "small": {"...": (64,), "n": (256,)},
    "medium": {"...": (2048,), "n": (512,)},
    "large": {"...": (4096,), "n": (2048,)},
}
# The lengths that the names in each layer's shape strings stand for, by size.
LENGTHS: dict[str, dict[str, Lengths]] = {
    "linear": {
        "small": {"...": (64,), "in": (64,), "out": (64,)},
        "medium": {"...": (512,), "in": (768,), "out": (768,)},
        "large": {"...": (2048,), "in": (768,), "out": (3072,)},
    },
    "tanh": ELEMENTWISE,
    "sigmoid": ELEMENTWISE,
    "relu": ELEMENTWISE,
    "gelu": ELEMENTWISE,
    "softmax": ROWS,
    "log_softmax": ROWS,
    "layer_norm": {
        "small": {"...": (64,), "features": (256,)},
        "medium": {"...": (1366,), "features": (768,)},
        "large": {"...": (8192,), "features": (1024,)},
    },
    "attention": {
        "small": {"...": (1, 2), "q": (64,), "d": (32,), "k": (64,), "v": (32,)},
        "medium": {"...": (2, 8), "q": (256,), "d": (64,), "k": (256,), "v": (64,)},
        "large": {"...": (2, 8), "q": (1024,), "d": (64,), "k": (1024,), "v": (64,)},
    },
    "embedding": {
        "small": {"...": (16, 32), "n": (1000,), "d": (128,)},
        "medium": {"...": (32, 128), "n": (8000,), "d": (256,)},
        "large": {"...": (32, 512), "n": (30522,), "d": (768,)},
    },
    "dropout": ELEMENTWISE,
    "bce_with_logits": ELEMENTWISE,
    "cross_entropy": {
        "small": {"...": (80,), "classes": (1000,)},
        "medium": {"...": (640,), "classes": (8000,)},
        "large": {"...": (640,), "classes": (30522,)},
    },
}


@dataclass(frozen=True)
class Variant:
    """A way to call a layer: the optional inputs that are given, the settings that differ."""

    label: str = ""
    optional: tuple[str, ...] = ()
    settings: Settings = field(default_factory=dict)


# Layers that are not here are called once, with all settings at their defaults.
VARIANTS: dict[str, tuple[Variant, ...]] = {
    "linear": (Variant(optional=("bias",)),),
    "layer_norm": (Variant(optional=("weight", "bias")),),
    "gelu": (Variant(), Variant("tanh", settings={"approximate": "tanh"})),
    "attention": (
        Variant(),
        Variant("causal", settings={"causal": True}),
        Variant("mask keep", optional=("mask", "keep"), settings={"p": 1 - KEPT}),
    ),
    "dropout": (Variant(settings={"p": 1 - KEPT}),),
}


@dataclass(frozen=True)
class LayerWork:
    """A layer with tensors on one backend: `leaves` are those that get a gradient."""

    backend: Backend
    spec: LayerSpec
    tensors: Mapping[str, Any]
    settings: Settings
    leaves: tuple[Any, ...]
    grad_y: Any  # None where the output is one number


def time_forward(work: LayerWork) -> None:
    """Run the layer and put it on the tape, as training does."""
    work.backend.apply(work.spec, work.tensors, work.settings)


def time_forward_backward(work: LayerWork) -> None:
    """Run the layer, then send a gradient back to every input that wants one."""
    y = work.backend.apply(work.spec, work.tensors, work.settings)
    y.backward(work.grad_y)
    for leaf in work.leaves:
        leaf.grad = None


PASSES: dict[str, Callable[[LayerWork], None]] = {
    "forward": time_forward,
    "forward+backward": time_forward_backward,
}


def cases(
    size: str, dtype: str, backends: tuple[str, ...], layers: Sequence[str] = tuple(LAYERS)
) -> Iterator[Case]:
    """Yield both passes of each variant of each of `layers`."""
    for name in layers:
        spec, lengths = LAYERS[name], LENGTHS[name][size]
        for variant in VARIANTS.get(name, (Variant(),)):
            label = f"{name} {variant.label}" if variant.label else name
            for pass_name, time_pass in PASSES.items():
                yield Case(
                    suite="layers",
                    name=f"{label} {pass_name}",
                    work=f"{dtype}, {lengths_text(lengths)}",
                    prepare=prepare_each(
                        partial(_pass, time_pass, spec, variant, lengths, dtype), backends
                    ),
                )


def work_of(
    spec: LayerSpec, variant: Variant, lengths: Lengths, dtype: str, backend_name: str
) -> LayerWork:
    """Return a layer with drawn inputs and a drawn upstream gradient on one backend."""
    backend = load_backend(backend_name)
    arrays = draw_inputs(spec, variant.optional, lengths, dtype)
    settings = full_settings(spec, variant.settings)
    tensors = {
        name: backend.tensor(array, requires_grad=name in spec.differentiable)
        for name, array in arrays.items()
    }
    shape = tuple(backend.apply(spec, tensors, settings).shape)
    generator = np.random.default_rng(SEED + 1)
    grad_y = generator.standard_normal(shape).astype(dtype) if shape else None
    return LayerWork(
        backend=backend,
        spec=spec,
        tensors=tensors,
        settings=settings,
        leaves=tuple(tensors[name] for name in tensors if name in spec.differentiable),
        grad_y=None if grad_y is None else backend.tensor(grad_y),
    )


def draw_inputs(spec: LayerSpec, optional: tuple[str, ...], lengths: Lengths, dtype: str) -> Arrays:
    """Return an array for each input that is needed or named in `optional`, the same every time.

    Booleans are True with chance KEPT, labels are 0 or 1, all else is standard normal.
    """
    generator = np.random.default_rng(SEED)
    return {
        name: _draw(generator, spec, name, lengths).astype(
            "bool" if name in spec.booleans else "int64" if name in spec.indices else dtype
        )
        for name, text in spec.inputs.items()
        if name not in spec.optional or name in optional
    }


def lengths_text(lengths: Lengths) -> str:
    """Write lengths in words: 2x8, q 256, d 64."""
    return ", ".join(
        "x".join(map(str, shape)) if dim == "..." else f"{dim} {shape[0]}"
        for dim, shape in lengths.items()
    )


def _pass(
    time_pass: Callable[[LayerWork], None],
    spec: LayerSpec,
    variant: Variant,
    lengths: Lengths,
    dtype: str,
    backend: str,
) -> Call:
    return partial(time_pass, work_of(spec, variant, lengths, dtype, backend))


def _shape(text: str, lengths: Lengths) -> tuple[int, ...]:
    return tuple(length for dim in text.split() for length in lengths[dim])


def _draw(generator: np.random.Generator, spec: LayerSpec, name: str, lengths: Lengths) -> Array:
    shape = _shape(spec.inputs[name], lengths)
    if name in spec.indices:
        return generator.integers(0, lengths[spec.indices[name]][0], shape)
    if name in spec.booleans:
        return generator.random(shape) < KEPT
    if name in spec.labels:
        return generator.integers(0, 2, shape)
    normal = generator.standard_normal(shape)
    # A weight matrix is scaled as it is in a model, so that outputs are of the size of inputs.
    return normal / math.sqrt(shape[-1]) if name == "weight" and len(shape) > 1 else normal
