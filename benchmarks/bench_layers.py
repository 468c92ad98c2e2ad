"""Every layer, forward and forward with backward, on the arrays that its spec describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from twingrad.benchmarks.layer_work import LayerWork, twingrad_call
from twingrad.benchmarks.lengths import lengths_of
from twingrad.benchmarks.measure import Benchmark, prepare_each
from twingrad.benchmarks.pages import supporting, variants_of
from twingrad.benchmarks.peers.choice import prepare_paged
from twingrad.core.catalogue import LAYERS

PASSES = {"forward": False, "forward+backward": True}
MAKERS = {
    "torch-plain": "torch_layers:call",
    "jax": "jax_layers:call",
}


def benchmarks(
    size: str,
    dtype: str,
    backends: tuple[str, ...],
    peers: tuple[str, ...] = (),
    layers: Sequence[str] | None = None,
) -> Iterator[Benchmark]:
    """Yield both passes of each variant of each of `layers`, on the backends that have it."""
    for name in LAYERS if layers is None else layers:
        having = supporting(name, dtype, backends)
        if not having:
            continue
        lengths = lengths_of(LAYERS[name], size)
        for label, variant in variants_of(name).items():
            for pass_name, backward in PASSES.items():
                work = LayerWork(LAYERS[name], variant, lengths, dtype, backward)
                yield Benchmark(
                    suite="layers",
                    name=f"{label} {pass_name}",
                    work=str(work),
                    prepare=prepare_each(partial(twingrad_call, work), having)
                    | prepare_paged(MAKERS, peers, name, work),
                    flops=work.flops,
                    bytes=work.bytes,
                )
