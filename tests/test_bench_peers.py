"""Other libraries are timed at twingrad's own work: they compute the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from twingrad.benchmarks import bench_bert, bench_layers, bench_mlp, bench_optimizers
from twingrad.benchmarks.measure import Benchmark
from twingrad.benchmarks.peers import choice
from twingrad.benchmarks.peers.choice import PEERS, chosen, installed
from twingrad.core.errors import MissingPackageError

AGREES = 1e-4  # relative, for float32 that other libraries add up in another order
STEPS = 2


def pairs(*suites: Any) -> list[Any]:
    """Return each benchmark of these suites with each installed peer that takes part in it."""
    return [
        pytest.param(benchmark, peer, id=f"{benchmark.name} {peer}")
        for suite in suites
        for benchmark in suite.benchmarks("small", "float32", ("numpy",), installed())
        for peer in installed()
        if peer in benchmark.prepare
    ]


def number(loss: Any) -> float:
    return float(loss.detach() if hasattr(loss, "detach") else loss)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method")  # torch.compile calls it itself
@pytest.mark.parametrize(("benchmark", "peer"), pairs(bench_mlp, bench_bert))
def test_a_peer_takes_the_same_training_steps(benchmark: Benchmark, peer: str) -> None:
    """The second loss is of weights that the first step has changed."""
    ours, theirs = benchmark.prepare["numpy"](), benchmark.prepare[peer]()
    for _ in range(STEPS):
        expected, found = number(ours()), number(theirs())
        assert found == pytest.approx(expected, rel=AGREES)


@pytest.mark.parametrize(("benchmark", "peer"), pairs(bench_layers))
def test_a_peer_computes_the_same_layer(benchmark: Benchmark, peer: str) -> None:
    ours, theirs = benchmark.prepare["numpy"](), benchmark.prepare[peer]()
    for expected, found in zip(arrays(ours()), arrays(theirs()), strict=True):
        np.testing.assert_allclose(found, expected, rtol=AGREES, atol=1e-5, strict=True)


@pytest.mark.parametrize(("benchmark", "peer"), pairs(bench_optimizers))
def test_a_peer_changes_parameters_alike(benchmark: Benchmark, peer: str) -> None:
    ours, theirs = benchmark.prepare["numpy"](), benchmark.prepare[peer]()
    for step in (ours, theirs):
        step()
    for expected, found in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_allclose(found, expected, rtol=AGREES, atol=1e-6, strict=True)


@pytest.mark.parametrize("suite", [bench_layers, bench_optimizers])
def test_every_peer_has_each_of_our_own(suite: Any) -> None:
    """Only what other packages bring may lack a peer."""
    for benchmark in suite.benchmarks("small", "float32", ("numpy",), tuple(PEERS)):
        assert {*benchmark.prepare} == {"numpy", *suite.MAKERS}, benchmark.name


def test_plain_torch_is_the_default_where_torch_is_measured() -> None:
    assert chosen(None, ("numpy", "torch")) == ("torch-plain",)
    assert chosen(None, ("numpy",)) == ()
    assert chosen(["none"], ("numpy", "torch")) == ()
    assert chosen(["all"], ("numpy",)) == installed()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_installed_says_what_to_do(
    name: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = PEERS[name].module
    monkeypatch.setattr(
        choice, "find_spec", lambda asked: None if asked == module else find_spec(asked)
    )
    line = refused(2, "bench", "--peers", name)
    assert f"--peers {name}: it is not installed" in line
    assert f"pip install 'twingrad[{PEERS[name].extra}]'" in line


def test_a_peer_without_its_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: object())
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingPackageError, match="clang, which is not on the PATH"):
        chosen(["tinygrad"], ("numpy",))


def arrays(result: Any) -> list[Any]:
    """Return a tensor, or each of several, as NumPy has it."""
    parts = result if isinstance(result, list) else [result]
    return [np.asarray(part.detach() if hasattr(part, "detach") else part) for part in parts]


def parameters(step: Any) -> list[Any]:
    """Return the parameters of the optimizer whose step this is."""
    (group,) = step.__self__.param_groups
    return [np.asarray(param.detach()) for param in group["params"]]
