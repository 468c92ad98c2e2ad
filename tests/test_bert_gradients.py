"""Gradients of a whole BERT: both backends in both dtypes, within what rounding itself does.

No formula bounds the error of a gradient through a hundred layers usefully. So the model says by
itself what rounding does to it: run in a higher precision, with every number that goes into a layer
or comes out of it shaken by a unit roundoff, its gradients move, and so far may others be off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.backends.numpy_backend.kernels import KERNELS, Kernel
from twingrad.core.spec import Array
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import BertForPretraining

OTHER = {"numpy": "torch", "torch": "numpy"}
FORMS = {"google": BertConfig.google, "teaching": BertConfig.teaching}
SHAKES = 8
# A layer adds up some dozen numbers, where a shake is one rounding; and the largest of a few draws
# is below the largest there could be. Seen so far: up to 3.
ROOM = 8
ROWS, LENGTH, WORDS = 3, 9, 40


def config(form: str) -> BertConfig:
    sizes = {"hidden_size": 16, "layers": 3, "heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": WORDS, "max_positions": 64}
    changes: dict[str, Any] = {**sizes, "dropout": 0.0, "attention_dropout": 0.0}
    if form == "google":
        return BertConfig.google("tiny", **changes)
    return BertConfig.teaching(**changes)


def gradients(form: str, backend: str, dtype: str, seed: int) -> dict[str, Array]:
    """Return the gradients of all parameters of a model whose weights are float32 numbers."""
    weights = tg.build(BertForPretraining(config(form)), "numpy", seed=seed, dtype="float32")
    model = tg.build(BertForPretraining(config(form)), backend, seed=seed, dtype=dtype)
    model.load_state_dict({n: a.astype(dtype) for n, a in weights.state_dict().items()})
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, WORDS, (ROWS, LENGTH))
    mask = np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (ROWS, 1))
    positions = np.flatnonzero(mask)[1::3]
    masked, follows = model(ids, ids % 2, mask, positions)
    loss = tg.CrossEntropyLoss()(masked, ids.reshape(-1)[positions])
    (loss + tg.CrossEntropyLoss()(follows, np.arange(ROWS) % 2)).backward()
    return {name: tg.to_numpy(p.grad).astype(np.float64) for name, p in model.named_parameters()}


@contextmanager
def shaken(unit: float, seed: int) -> Iterator[None]:
    """Let every layer of the NumPy side see and return numbers that are off by up to `unit`."""
    rng = np.random.default_rng(seed)

    def shake(x: Any) -> Any:
        if not isinstance(x, np.ndarray) or x.dtype != np.float64:
            return x
        return np.asarray(x * (1 + unit * rng.uniform(-1, 1, x.shape)))

    def wrapped(honest: Kernel) -> Kernel:
        def forward(**inputs: Any) -> tuple[Array, Any]:
            y, saved = honest.forward(**{name: shake(value) for name, value in inputs.items()})
            return shake(y), saved

        def backward(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
            return tuple(map(shake, honest.backward(shake(grad_y), saved)))

        return Kernel(forward, backward)

    before = dict(KERNELS)
    KERNELS.update({name: wrapped(kernel) for name, kernel in before.items()})
    try:
        yield
    finally:
        KERNELS.update(before)


def excess(form: str, backend: str, dtype: str, seed: int) -> float:
    """Return the largest error of a gradient, against the other backend in float64.

    As a share of what rounding may do to it.
    """
    found = gradients(form, backend, dtype, seed)
    wide = {name: gradients(form, name, "float64", seed) for name in OTHER}
    truth, still = wide[OTHER[backend]], wide["numpy"]
    room = dict.fromkeys(truth, 0.0)
    for number in range(SHAKES):
        with shaken(float(np.finfo(dtype).eps) / 2, number):
            moved = gradients(form, "numpy", "float64", seed)
        for name, grad in moved.items():
            room[name] = max(room[name], ROOM * float(np.abs(grad - still[name]).max()))
    return max(float(np.abs(found[name] - truth[name]).max()) / room[name] for name in truth)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("backend", "dtype"), [("numpy", "float32"), ("torch", "float32"), ("numpy", "float64")]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_gradients_are_off_by_no_more_than_rounding_explains(
    form: str, backend: str, dtype: str, seed: int
) -> None:
    assert excess(form, backend, dtype, seed) <= 1


@pytest.mark.parametrize("name", ["layer_norm", "attention", "gelu", "linear"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_faulty_layer_shows(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is a thousandth too large, in one kind of layer."""
    honest = KERNELS[name]

    def backward(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
        first, *others = honest.backward(grad_y, saved)
        assert first is not None
        return np.asarray(first * first.dtype.type(1.001)), *others

    monkeypatch.setitem(KERNELS, name, Kernel(honest.forward, backward))
    assert excess("google", "numpy", dtype, 1) > 4
