"""Blocks and threads: the same numbers whoever computes them, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import twingrad as tg
from twingrad.backends.numpy_backend import blocks, get_num_threads, set_num_threads
from twingrad.core.errors import SettingError
from twingrad.core.spec import Array

ROWS, WIDTH = 600, 200
BLOCK = 1 << 14  # elements, so that there are several blocks, and the last of them is short
LOGITS = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype("float32")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "ELEMENTS", BLOCK)
    yield
    set_num_threads(None)


def calls() -> dict[str, tuple[dict[str, Array], dict[str, Any]]]:
    """Return inputs and settings of every layer that runs in blocks."""
    rng = np.random.default_rng(1)
    vector = rng.standard_normal(WIDTH).astype("float32")
    heads = {
        name: rng.standard_normal((5, 3, 130, 16)).astype("float32")
        for name in ("query", "key", "value")
    }
    return {
        **{name: ({"x": LOGITS}, {}) for name in ("tanh", "sigmoid", "softmax", "log_softmax")},
        "gelu": ({"x": LOGITS}, {}),
        "dropout": ({"x": LOGITS, "keep": LOGITS > -1}, {"p": 0.1}),
        "layer_norm": ({"x": LOGITS, "weight": vector, "bias": vector}, {}),
        "attention": (heads, {"causal": True}),
        "cross_entropy": ({"x": LOGITS, "target": rng.integers(0, WIDTH, ROWS)}, {}),
    }


@pytest.mark.parametrize("name", calls())
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    inputs, settings = calls()[name]

    def run(count: int) -> list[bytes]:
        set_num_threads(count)
        y = tg.forward(name, inputs, **settings)
        grad_y = np.random.default_rng(2).standard_normal(y.shape).astype(y.dtype)
        _, grads = tg.vjp(name, inputs, grad_y, **settings)
        return [array.tobytes() for array in (y, *grads.values())]

    assert run(1) == run(2) == run(5)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_steps_equally_whatever_the_threads_and_blocks(name: str) -> None:
    rng = np.random.default_rng(3)
    weight, grad = rng.standard_normal((2, 3 * blocks.ELEMENTS + 5))
    whole = []
    for count in (1, 3):
        set_num_threads(count)
        new, _ = tg.optimizer_step(name, weight, grad, lr=0.1)
        whole.append(new)
    parts = [tg.optimizer_step(name, weight[i::7], grad[i::7], lr=0.1)[0] for i in range(7)]
    assert whole[0].tobytes() == whole[1].tobytes()
    assert all(whole[0][i::7].tobytes() == part.tobytes() for i, part in enumerate(parts))


def test_parameters_of_any_layout_and_size_train_equally() -> None:
    """Small ones are joined, large ones change in place, others are copied and put back."""
    rng = np.random.default_rng(4)
    values = rng.standard_normal((100, 90))
    grad = rng.standard_normal((100, 90))
    backend = tg.load_backend("numpy")
    trained = []
    for made in (values, np.asfortranarray(values), values[:3].copy()):
        param = backend.tensor(made, requires_grad=True)
        other = backend.tensor(np.ones(7), requires_grad=True)
        optimizer = tg.AdamW([param, other], lr=0.1)
        for _ in range(3):
            param.grad, other.grad = grad[: len(made)], np.ones(7)
            optimizer.step()
        trained.append(tg.to_numpy(param))
    assert trained[0].tobytes() == np.ascontiguousarray(trained[1]).tobytes()
    assert trained[0][:3].tobytes() == trained[2].tobytes()


def test_what_a_block_raises_reaches_the_caller_and_blas_has_its_threads_back() -> None:
    set_num_threads(3)
    before = [library["num_threads"] for library in threadpool_info()]

    def work(part: int) -> int:
        if part == 7:
            raise ValueError("part 7")
        return part

    with pytest.raises(ValueError, match="part 7"):
        blocks.each(work, range(20))
    assert [library["num_threads"] for library in threadpool_info()] == before
    assert blocks.each(lambda part: part, range(20)) == list(range(20))


def test_numpys_error_state_holds_in_every_thread() -> None:
    set_num_threads(4)
    x = np.full(8 * blocks.ELEMENTS, 1e300)
    with np.errstate(over="ignore"):
        blocks.elementwise(lambda part: part * part, x)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        blocks.elementwise(lambda part: part * part, x)


def test_several_user_threads_compute_what_one_does() -> None:
    set_num_threads(3)
    expected = tg.forward("gelu", {"x": LOGITS}).tobytes()
    found: list[bool] = []

    def user() -> None:
        for _ in range(10):
            found.append(tg.forward("gelu", {"x": LOGITS}).tobytes() == expected)

    users = [threading.Thread(target=user) for _ in range(4)]
    for one in users:
        one.start()
    for one in users:
        one.join()
    assert len(found) == 40
    assert all(found)


FORK = """
import os, sys
import numpy as np
import twingrad as tg
from twingrad.backends.numpy_backend import set_num_threads

set_num_threads(2)
x = np.linspace(-5, 5, 1_000_000)  # several blocks
expected = tg.forward("gelu", {"x": x}).tobytes()  # threads are there now
child = os.fork()
if not child:
    os._exit(tg.forward("gelu", {"x": x}).tobytes() != expected)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_computes_what_its_parent_does() -> None:
    """In a process of its own, without other packages' threads in it."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_wrong_number_of_threads_is_refused(count: Any) -> None:
    with pytest.raises(SettingError, match="count must be an integer >= 1"):
        set_num_threads(count)


@pytest.mark.parametrize(("asked", "found"), [("1", 1), ("3", 3), ("3,2", 3), ("none", None)])
def test_omp_num_threads_is_respected(asked: str, found: int | None) -> None:
    program = "from twingrad.backends.numpy_backend import get_num_threads as n; print(n())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == (found or int(done.stdout)) >= 1


BEFORE_NUMPY = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print(os.environ["OPENBLAS_THREAD_TIMEOUT"])

sys.meta_path.insert(0, Watch())
import twingrad
"""


@pytest.mark.parametrize(("asked", "found"), [(None, "18"), ("20", "20")])
def test_openblas_is_told_to_let_its_threads_sleep_before_it_is_loaded(
    asked: str | None, found: str
) -> None:
    """It looks once, when NumPy is imported; whoever has set it knows better."""
    name = "OPENBLAS_THREAD_TIMEOUT"
    rest = {key: value for key, value in os.environ.items() if key != name}
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_NUMPY],
        env=rest if asked is None else rest | {name: asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [found]


def test_threads_are_those_of_the_process_or_as_set() -> None:
    assert get_num_threads() >= 1
    set_num_threads(7)
    assert get_num_threads() == 7


def _peak(run: Callable[[], Any]) -> int:
    run()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("causal", [False, True])
def test_attentions_memory_grows_with_the_length_and_not_with_its_square(causal: bool) -> None:
    """Twice as long may take twice as much, and a tenth: a matrix of weights would take 4 times."""
    set_num_threads(1)

    def run(length: int) -> Callable[[], Any]:
        query, key, value = np.random.default_rng(5).standard_normal((3, 1, length, 8), "float32")
        inputs = {"query": query, "key": key, "value": value}
        return lambda: tg.vjp("attention", inputs, value, causal=causal)

    assert _peak(run(8192)) <= 2.2 * _peak(run(4096))
