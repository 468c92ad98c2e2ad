"""A training step of a BERT: forward, loss of the masked tokens, backward, AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from twingrad.benchmarks.bert_work import BertWork, twingrad_step
from twingrad.benchmarks.measure import Benchmark, Call, prepare_each
from twingrad.benchmarks.peers.choice import prepare_peers

# Hidden size, layers, heads, batch, vocabulary.
MODELS = {
    "small": ((32, 1, 2, 4, 500),),
    "medium": ((128, 2, 2, 16, 5000), (256, 4, 4, 8, 8000)),
    "large": (
        (128, 2, 2, 16, 5000),
        (256, 4, 4, 8, 8000),
        (512, 4, 8, 8, 8000),
        (768, 12, 12, 4, 30522),
    ),
}
MAKERS = {
    "torch-plain": "torch_bert:plain",
    "torch-fused": "torch_bert:fused",
    "torch-compile": "torch_bert:compiled",
    "jax": "jax_bert:step",
}


def benchmarks(
    size: str, dtype: str, backends: tuple[str, ...], peers: tuple[str, ...] = ()
) -> Iterator[Benchmark]:
    """Yield a step of each model, from the same first weights in every library."""
    for sizes in MODELS[size]:
        work = BertWork(*sizes, dtype=dtype)
        yield Benchmark(
            suite="bert",
            name=f"bert {work.hidden} step",
            work=str(work),
            prepare=steps(work, backends, peers),
            flops=work.flops,
            bytes=work.bytes,
        )


def steps(
    work: BertWork, backends: tuple[str, ...], peers: tuple[str, ...]
) -> dict[str, Callable[[], Call]]:
    """Return how to make ready the step in each library."""
    return prepare_each(partial(twingrad_step, work), backends) | prepare_peers(MAKERS, peers, work)
