"""Attention over growing lengths, forward and backward: where the memory decides."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from twingrad.benchmarks.bench_layers import MAKERS
from twingrad.benchmarks.layer_work import LayerWork, twingrad_call
from twingrad.benchmarks.measure import Benchmark, prepare_each
from twingrad.benchmarks.pages import Variant
from twingrad.benchmarks.peers.choice import prepare_paged
from twingrad.core.catalogue import LAYERS

HEADS = (1, 8)  # texts, heads
WIDTH = 64  # of a head
LENGTHS = {
    "small": (64, 128),
    "medium": (512, 1024, 2048),
    "large": (512, 1024, 2048, 4096, 8192),
}
VARIANTS = (Variant("attention"), Variant("attention causal", settings={"causal": True}))


def benchmarks(
    size: str, dtype: str, backends: tuple[str, ...], peers: tuple[str, ...] = ()
) -> Iterator[Benchmark]:
    """Yield attention of every length, each token seeing all others or those before it."""
    for variant in VARIANTS:
        for length in LENGTHS[size]:
            lengths = {"...": HEADS, "q": (length,), "k": (length,), "d": (WIDTH,), "v": (WIDTH,)}
            work = LayerWork(LAYERS["attention"], variant, lengths, dtype, backward=True)
            yield Benchmark(
                suite="attention",
                name=f"{variant.label}, length {length}",
                work=f"{dtype}, {HEADS[1]} heads of {WIDTH}, forward+backward",
                prepare=prepare_each(partial(twingrad_call, work), backends)
                | prepare_paged(MAKERS, peers, "attention", work),
                flops=work.flops,
                bytes=work.bytes,
                curve=variant.label,
                axis="length",
                at=length,
            )
