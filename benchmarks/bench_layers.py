"""Every layer, forward and forward with backward, on the arrays that its spec describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from twingrad.benchmarks.layer_work import KEPT, LayerWork, Variant, twingrad_call
from twingrad.benchmarks.measure import Case, prepare_each
from twingrad.benchmarks.peers.choice import prepare_peers
from twingrad.core.catalogue import LAYERS
from twingrad.core.shapes import Lengths

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

PASSES = {"forward": False, "forward+backward": True}
MAKERS = {
    "torch-plain": "torch_layers:call",
    "jax": "jax_layers:call",
}


def cases(
    size: str,
    dtype: str,
    backends: tuple[str, ...],
    peers: tuple[str, ...] = (),
    layers: Sequence[str] = tuple(LAYERS),
) -> Iterator[Case]:
    """Yield both passes of each variant of each of `layers`."""
    for name in layers:
        for variant in VARIANTS.get(name, (Variant(),)):
            label = f"{name} {variant.label}" if variant.label else name
            for pass_name, backward in PASSES.items():
                work = LayerWork(LAYERS[name], variant, LENGTHS[name][size], dtype, backward)
                yield Case(
                    suite="layers",
                    name=f"{label} {pass_name}",
                    work=str(work),
                    prepare=prepare_each(partial(twingrad_call, work), backends)
                    | prepare_peers(MAKERS, peers, work),
                    flops=work.flops,
                    bytes=work.bytes,
                )
