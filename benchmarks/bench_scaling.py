"""How time and memory of a BERT's training step grow, with one size varied at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from twingrad.benchmarks.bench_bert import steps
from twingrad.benchmarks.bert_work import BertWork
from twingrad.benchmarks.measure import Benchmark

HEAD = 64  # width of a head; a narrower model has one
START = BertWork(hidden=128, layers=2, heads=2, batch=4, vocabulary=1000, length=128)
AXES: dict[str, dict[str, tuple[int, ...]]] = {
    "length": {
        "small": (128, 256),
        "medium": (128, 256, 512, 1024, 2048),
        "large": (128, 256, 512, 1024, 2048, 4096, 8192),
    },
    "batch": {
        "small": (1, 2),
        "medium": (1, 2, 4, 8, 16),
        "large": (1, 2, 4, 8, 16, 32, 64),
    },
    "hidden": {
        "small": (64, 128),
        "medium": (64, 128, 256, 512),
        "large": (64, 128, 256, 512, 1024),
    },
}


def benchmarks(
    size: str, dtype: str, backends: tuple[str, ...], peers: tuple[str, ...] = ()
) -> Iterator[Benchmark]:
    """Yield the step at each length, each batch and each hidden size."""
    for axis, values in AXES.items():
        for value in values[size]:
            work = varied(axis, value, dtype)
            yield Benchmark(
                suite="scaling",
                name=f"bert step, {axis} {value}",
                work=str(work),
                prepare=steps(work, backends, peers),
                flops=work.flops,
                bytes=work.bytes,
                curve="bert step",
                axis=axis,
                at=value,
            )


def varied(axis: str, value: int, dtype: str) -> BertWork:
    """Return the work with one size changed; long texts come alone, and heads keep their width."""
    if axis == "length":
        return replace(START, length=value, batch=1, dtype=dtype)
    if axis == "hidden":
        return replace(START, hidden=value, heads=max(1, value // HEAD), dtype=dtype)
    return replace(START, batch=value, dtype=dtype)
