"""MultiHeadAttention is torch.nn.MultiheadAttention, but for what torch leaves undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import twingrad as tg
from twingrad.core.errors import DTypeError, ShapeError
from twingrad.core.spec import Array
from twingrad.parity_tests.laws.roundings import roundings

BACKENDS = ("numpy", "torch")
EMBED, HEADS = 8, 2
BATCH, ROWS, COLUMNS = 3, 4, 5
# Roundings on the longest way through the module: four projections and two products with keys
# and values, forward and again backward, and the softmax between them.
ROUNDINGS = 2 * (4 * roundings(EMBED) + 2 * roundings(EMBED // HEADS) + 2 * roundings(COLUMNS) + 16)
EPS = float(np.finfo(np.float64).eps)

Result = dict[str, Array]  # "output", "weights", and "grad_<name>"


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def inputs(kdim: int = EMBED, vdim: int = EMBED) -> list[Array]:
    return [
        numbers(1, BATCH, ROWS, EMBED),
        numbers(2, BATCH, COLUMNS, kdim),
        numbers(3, BATCH, COLUMNS, vdim),
    ]


def result(module: Any, arrays: list[Array], make: Any, **settings: Any) -> Result:
    """Return outputs and gradients of a module for fixed random upstream gradients."""
    tensors = [make(array) for array in arrays]
    output, weights = module(*tensors, **settings)
    loss = (output * make(numbers(4, *output.shape))).sum()
    if weights is not None:
        loss = loss + (weights * make(numbers(5, *weights.shape))).sum()
    loss.backward()
    grads = dict(zip(("query", "key", "value"), tensors, strict=True))
    grads |= dict(module.named_parameters())
    values = {f"grad_{name}": tg.to_numpy(tensor.grad) for name, tensor in grads.items()}
    values["output"] = tg.to_numpy(output)
    return values if weights is None else values | {"weights": tg.to_numpy(weights)}


def ours(backend: str, state: Any, arrays: list[Array], built: Any, **settings: Any) -> Result:
    """Run twingrad's module on `backend` with the parameters in `state`."""
    model = tg.build(tg.MultiHeadAttention(EMBED, HEADS, **built), backend, dtype="float64")
    model.load_state_dict(state)

    def make(array: Array) -> Any:
        return tg.tensor(array, backend, requires_grad=True)

    return result(model, arrays, make, **settings)


def theirs(arrays: list[Array], built: Any, **settings: Any) -> tuple[Result, Any]:
    """Run torch's module with random parameters; return also its state dict."""
    model = torch.nn.MultiheadAttention(EMBED, HEADS, dtype=torch.float64, **built)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.from_numpy(numbers(10 + number, *parameter.shape)))
    plain = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in settings.items()
    }

    def make(array: Array) -> torch.Tensor:
        return torch.tensor(array, requires_grad=True)

    return result(model, arrays, make, **plain), model.state_dict()


def check_equal(backend: str, arrays: list[Array], built: Any, **settings: Any) -> None:
    """Both modules agree within u times the roundings times the largest number of each result."""
    expected, state = theirs(arrays, built, **settings)
    got = ours(backend, state, arrays, built, **settings)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape, name
        bound = ROUNDINGS * EPS * max(np.abs(value).max(), 1.0)
        assert np.abs(got[name] - value).max() <= bound, name


CAUSAL = np.triu(np.ones((ROWS, COLUMNS), bool), 1)
PADDING = np.arange(COLUMNS) >= np.array([[COLUMNS], [3], [1]])
PER_HEAD = numbers(6, BATCH * HEADS, ROWS, COLUMNS) > 0.4  # leaves something in every row
PER_HEAD[..., 0] = False

CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without weights": {"need_weights": False},
    "weights of each head": {"average_attn_weights": False},
    "padding": {"key_padding_mask": PADDING},
    "attn_mask in two dimensions": {"attn_mask": CAUSAL},
    "attn_mask in three dimensions": {"attn_mask": PER_HEAD},
    "both masks": {"key_padding_mask": PADDING, "attn_mask": CAUSAL},
    "causal": {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_it_equals_torchs_module(backend: str, batch_first: bool, call: str) -> None:
    arrays = [x if batch_first else x.swapaxes(0, 1).copy() for x in inputs()]
    check_equal(backend, arrays, {"batch_first": batch_first}, **CALLS[call])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
def test_keys_and_values_may_have_widths_of_their_own(backend: str, bias: bool) -> None:
    built = {"kdim": 6, "vdim": 3, "bias": bias, "batch_first": True}
    check_equal(backend, inputs(kdim=6, vdim=3), built)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "call", [{}, {"key_padding_mask": PADDING[1]}, {"attn_mask": PER_HEAD[:HEADS]}]
)
def test_one_sequence_needs_no_batch(backend: str, call: dict[str, Any]) -> None:
    check_equal(backend, [x[0] for x in inputs()], {}, **call)


@pytest.mark.parametrize("backend", BACKENDS)
def test_is_causal_alone_is_the_causal_mask(backend: str) -> None:
    """Where torch wants the mask beside the hint, the hint says all here."""
    _, state = theirs(inputs(), {"batch_first": True})
    masked = ours(backend, state, inputs(), {"batch_first": True}, attn_mask=CAUSAL)
    causal = ours(backend, state, inputs(), {"batch_first": True}, is_causal=True)
    for name, value in masked.items():
        np.testing.assert_array_equal(causal[name], value, name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_with_nothing_to_attend_to_gets_zero_from_every_head(backend: str) -> None:
    """The output is then the last projection's bias, and no gradient flows; torch says NaN."""
    nothing = np.zeros((BATCH, COLUMNS), bool)
    nothing[1] = True
    expected, state = theirs(inputs(), {"batch_first": True}, key_padding_mask=nothing)
    got = ours(backend, state, inputs(), {"batch_first": True}, key_padding_mask=nothing)
    assert np.isnan(expected["output"][1]).all()
    bias = np.broadcast_to(state["out_proj.bias"].numpy(), (ROWS, EMBED))
    np.testing.assert_array_equal(got["output"][1], bias)
    assert not got["weights"][1].any()
    for name in ("query", "key", "value"):
        assert not got[f"grad_{name}"][1].any(), name
        assert got[f"grad_{name}"][0].any(), name
    assert all(np.isfinite(value).all() for value in got.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hide", ["key_padding_mask", "attn_mask"])
@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
def test_what_is_hidden_changes_nothing(backend: str, hide: str, worst: float) -> None:
    """Whatever stands in a hidden key or value, outputs and gradients keep their bits."""
    _, state = theirs(inputs(), {"batch_first": True})
    hidden = np.zeros((BATCH if hide == "key_padding_mask" else ROWS, COLUMNS), bool)
    hidden[:, 3:] = True
    clean, spoilt = inputs(), inputs()
    for array in spoilt[1:]:
        array[:, 3:] = worst
    results = [
        ours(backend, state, arrays, {"batch_first": True}, **{hide: hidden})
        for arrays in (clean, spoilt)
    ]
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value, name)
    assert not results[1]["grad_key"][:, 3:].any()


def test_both_backends_agree_without_torchs_module() -> None:
    """With dropout, where torch's module would draw other numbers, the backends still agree."""
    built = {"dropout": 0.3, "batch_first": True}
    _, state = theirs(inputs(), {"batch_first": True})
    one, other = (ours(backend, state, inputs(), built) for backend in BACKENDS)
    for name, value in other.items():
        bound = ROUNDINGS * EPS * max(np.abs(value).max(), 1.0) / (1 - 0.3)
        assert np.abs(one[name] - value).max() <= bound, name


@pytest.mark.parametrize("name", ["key_padding_mask", "attn_mask"])
@pytest.mark.parametrize("mask_dtype", ["float64", "int64", "uint8"])
def test_a_mask_that_is_not_boolean_is_refused(name: str, mask_dtype: str) -> None:
    texts = set()
    for backend in BACKENDS:
        model = tg.build(tg.MultiHeadAttention(EMBED, HEADS), backend, dtype="float64")
        query = numbers(0, COLUMNS, COLUMNS, EMBED)
        with pytest.raises(DTypeError, match=f"{name} must be boolean") as caught:
            model(query, query, query, **{name: np.zeros((COLUMNS, COLUMNS), mask_dtype)})
        texts.add(str(caught.value))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("name", "shape"),
    [("key_padding_mask", (BATCH, ROWS)), ("attn_mask", (COLUMNS, ROWS)), ("attn_mask", (1, 1, 1))],
)
def test_a_mask_of_the_wrong_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    texts = set()
    for backend in BACKENDS:
        module = tg.MultiHeadAttention(EMBED, HEADS, batch_first=True)
        model = tg.build(module, backend, dtype="float64")
        with pytest.raises(ShapeError, match=f"{name} must be") as caught:
            model(*inputs(), **{name: np.zeros(shape, bool)})
        texts.add(str(caught.value))
    assert len(texts) == 1
