"""Every property in the table holds on every backend, and a fault that breaks it is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import Phase, given, settings

from twingrad.backends.numpy_backend import (
    adamw,
    attention,
    bce_with_logits,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    layer_norm,
    linear,
    sigmoid,
    softmax,
    tanh,
)
from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS
from twingrad.core.foreign import supports
from twingrad.core.layers.attention import visible_pairs
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays, LayerSpec, OptimizerSpec
from twingrad.parity_tests import faults
from twingrad.parity_tests.judge.options import options
from twingrad.parity_tests.properties import (
    BIT_FOR_BIT,
    PROPERTIES,
    SUBJECTS,
    WITH_TENSORS,
    properties_of,
)

SHARE = 2  # of a run's examples one in so many: a case has many numbers, a layer many properties
BITWISE_LAWS = 60  # at least so many that are one layer's own, each dtype counted
Law = tuple[LayerSpec | OptimizerSpec, str, str]


def laws() -> list[Law]:
    """Return subject, sentence and dtype of every law that this run's backends can be asked."""
    return [
        (spec, sentence, dtype)
        for name, spec in SUBJECTS.items()
        if not options().layers or name in options().layers
        for sentence, each in properties_of(spec).items()
        for dtype in each.dtypes
        if dtype in options().dtypes
        and all(
            supports(load_backend(backend), other, dtype)
            for backend in options().backends
            for other in (name, *each.uses)
        )
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each row of the table and each dtype that it is about."""
    if "sentence" in metafunc.fixturenames:
        params = [
            pytest.param(*law, id=f"{law[0].name}-{law[1]}-{law[2]}", marks=_about(law[0]))
            for law in laws()
        ]
        metafunc.parametrize(("subject", "sentence", "in_dtype"), params)


def _about(spec: LayerSpec | OptimizerSpec) -> pytest.MarkDecorator:
    return pytest.mark.about(spec.name)


@settings(max_examples=max(options().examples // SHARE, 1))
@given(data=st.data())
def test_a_property_holds(
    subject: LayerSpec | OptimizerSpec, sentence: str, in_dtype: str, data: st.DataObject
) -> None:
    each = properties_of(subject)[sentence]
    case: Any = data.draw(each.draws(subject, in_dtype), label=subject.name)
    for name in options().backends:
        if name in WITH_TENSORS or not each.needs_tensors:
            each.holds(case, name)


def test_the_exact_lane_is_not_shortened() -> None:
    """Relations without any error are the ones in which no tolerance can hide a fault."""
    bitwise = [
        (name, sentence, dtype)
        for name, spec in SUBJECTS.items()
        for sentence, each in properties_of(spec).items()
        for dtype in each.dtypes
        if sentence.endswith(BIT_FOR_BIT)
    ]
    own = [law for law in bitwise if law[1] in PROPERTIES.get(law[0], {})]
    assert len(own) >= BITWISE_LAWS
    assert len(bitwise) >= 4 * BITWISE_LAWS


def test_every_row_of_the_table_is_about_something() -> None:
    assert PROPERTIES.keys() - {"*"} <= SUBJECTS.keys()
    for sentence, each in PROPERTIES["*"].items():
        assert each.concerns, sentence
        assert each.concerns <= SUBJECTS.keys(), sentence


# Faults that the properties see


def linear_with_rounded_weights(
    x: Array, weight: Array, bias: Array | None = None
) -> tuple[Array, Any]:
    """Multiplied in half precision, as some units do by themselves."""
    _, saved = linear.forward(x, weight, bias)
    y = (x.astype(np.float16) @ weight.T.astype(np.float16)).astype(x.dtype)
    return y if bias is None else y + bias, saved


def tanh_by_its_formula(x: Array) -> tuple[Array, Any]:
    """1 - 2 / (e^2x + 1): all digits of a small x are lost."""
    _, saved = tanh.forward(x)
    with np.errstate(over="ignore"):
        return 1 - 2 / (np.exp(2 * x) + 1), saved


def sigmoid_backward_by_y(grad_y: Array, saved: Any) -> tuple[Array]:
    """y instead of y * (1 - y)."""
    y, _ = sigmoid.forward(saved.x)
    return (grad_y * y,)


def gelu_of_one_form(x: Array, approximate: str = "none") -> tuple[Array, Any]:
    """Whatever is asked for, the approximation is given."""
    return gelu.forward(x, "tanh")


def gelu_by_one_plus_erf(x: Array, approximate: str = "none") -> tuple[Array, Any]:
    """1 - Phi(-x), of which nothing is left in the tail."""
    y, saved = gelu.forward(x, approximate)
    mirrored, _ = gelu.forward(-x, approximate)
    return np.where(np.abs(x) < 10, x + mirrored, y), saved


def softmax_without_the_shift(x: Array) -> tuple[Array, Any]:
    """e^x as it stands, in the dtype's own range."""
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(x)
        y = e / e.sum(axis=-1, keepdims=True)
    return y, softmax.Saved(y)


def layer_norm_in_one_pass(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """The variance as E[x^2] - E[x]^2, which cancels."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0)
    _, saved = layer_norm.forward(x, weight, bias, eps)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = (x - mean) / np.sqrt(variance + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, saved


def layer_norm_of_the_batch(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Any]:
    """One deviation for all rows."""
    y, saved = layer_norm.forward(x, weight, bias, eps)
    pooled = np.full_like(saved.inv_std, saved.inv_std.mean())
    y = saved.xhat / saved.inv_std * pooled
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, saved


def layer_norm_backward_in_place(grad_y: Array, saved: Any) -> tuple[Array | None, ...]:
    """What was saved is overwritten on the way."""
    grads = layer_norm.backward(grad_y, saved)
    saved.xhat[...] *= 2
    return grads


def attention_with_a_finite_mask(
    query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False, **others: Any
) -> tuple[Array, Any]:
    """Values that are hidden leak in by a part in 10^4."""
    y, saved = attention.forward(query, key, value, mask, causal=causal, **others)
    visible = visible_pairs(query, key, mask, causal)
    leak = np.where(visible, 0, 1e-4).astype(value.dtype) @ np.nan_to_num(value)
    return y + leak, saved


def attention_with_gradients_from_blind_queries(
    grad_y: Array, saved: Any
) -> tuple[Array | None, ...]:
    """Rows that see nothing are taken for uniform, so what flows into them reaches the values."""
    grad_query, grad_key, grad_value, *others = attention.backward(grad_y, saved)
    scoring = saved.scoring
    visible = visible_pairs(saved.query, saved.key, scoring.mask, scoring.causal)
    blind = ~visible.any(axis=-1, keepdims=True)
    assert grad_value is not None
    extra = np.where(blind, grad_y, 0).sum(axis=-2, keepdims=True) / max(grad_value.shape[-2], 1)
    return (grad_query, grad_key, (grad_value + extra).astype(grad_y.dtype), *others)


def embedding_where_the_last_wins(grad_y: Array, saved: Any) -> tuple[None, Array]:
    """Assigned instead of added up."""
    grad_weight = np.zeros((saved.rows, grad_y.shape[-1]), grad_y.dtype)
    grad_weight[saved.ids] = grad_y
    return None, grad_weight


def embedding_of_zero_padding(
    ids: Array, weight: Array, padding_idx: int | None = None
) -> tuple[Array, Any]:
    """The padding row is read as 0, whatever it holds."""
    y, saved = embedding.forward(ids, weight, padding_idx)
    return np.where((ids == padding_idx)[..., None], weight.dtype.type(0), y), saved


def cross_entropy_where_all_count(grad_y: Array, saved: Any) -> tuple[Array, None, None]:
    """Logits of ignored targets get a gradient as well."""
    grad_x, *_ = cross_entropy.backward(grad_y, saved)
    uncounted = (saved.parts == 0).reshape(grad_x.shape[:-1])
    return np.where(uncounted[..., None], grad_x.dtype.type(1), grad_x), None, None


def cross_entropy_of_probabilities(x: Array, target: Array, **others: Any) -> tuple[Array, Any]:
    """log(p + 1e-7), as losses of probabilities have it."""
    y, saved = cross_entropy.forward(x, target, **others)
    return -np.log(np.exp(-y) + y.dtype.type(1e-7)), saved


def cross_entropy_without_softmax(grad_y: Array, saved: Any) -> tuple[Array, None, None]:
    """-1 at the target, and nothing elsewhere."""
    grad_x, *_ = cross_entropy.backward(grad_y, saved)
    return np.minimum(grad_x, 0), None, None


def bce_of_a_clipped_sigmoid(x: Array, target: Array, **others: Any) -> tuple[Array, Any]:
    """Logits beyond 20 count as 20."""
    return bce_with_logits.forward(np.clip(x, -20, 20), target, **others)


def dropout_with_the_mask_inverted(x: Array, keep: Array, p: float = 0.5) -> tuple[Array, Any]:
    """True taken for dropped."""
    return dropout.forward(x, ~keep, p)


def adamw_without_bias_correction(
    weight: Array, grad: Array, state: Arrays, step: int, **chosen: Any
) -> tuple[str, ...]:
    """As if the first step were the thousandth."""
    return adamw.step(weight, grad, state, 1000, **chosen)


def adamw_that_forgets_the_largest(
    weight: Array, grad: Array, state: Arrays, step: int, **chosen: Any
) -> tuple[str, ...]:
    """amsgrad's maximum is that of the last two steps."""
    state["max_exp_avg_sq"][...] = state["exp_avg_sq"]
    return adamw.step(weight, grad, state, step, **chosen)


def adamw_with_decay_in_the_gradient(
    weight: Array, grad: Array, state: Arrays, step: int, **chosen: Any
) -> tuple[str, ...]:
    """Adam with L2 regularisation, as it was before decay was decoupled."""
    decay = chosen.pop("weight_decay")
    return adamw.step(weight, grad + decay * weight, state, step, weight_decay=0.0, **chosen)


# subject, sentence, the pass that is replaced ("step" of an optimizer), and what replaces it
PLANTED: list[tuple[str, str, str, Callable[..., Any]]] = [
    ("linear", "one-hot weights pick, bit for bit", "forward", linear_with_rounded_weights),
    (
        "linear",
        "the bias gets the sum of the upstream",
        "backward",
        faults.linear_with_bias_averaged,
    ),
    ("tanh", "x near 0, bit for bit", "forward", tanh_by_its_formula),
    ("tanh", "odd, with an even slope, bit for bit", "forward", tanh_by_its_formula),
    ("sigmoid", "slope even, from 0 to 1/4", "backward", sigmoid_backward_by_y),
    ("gelu", "the selector selects", "forward", gelu_of_one_form),
    ("gelu", "the negative tail is negative, bit for bit", "forward", gelu_by_one_plus_erf),
    (
        "softmax",
        "an integer shift changes nothing, bit for bit",
        "forward",
        softmax_without_the_shift,
    ),
    ("softmax", "gradients of a row cancel", "backward", faults.softmax_without_the_sum),
    ("layer_norm", "a shift changes nothing", "forward", layer_norm_in_one_pass),
    ("layer_norm", "a batch is its parts", "forward", layer_norm_of_the_batch),
    (
        "layer_norm",
        "without eps no gradient along x - mean",
        "backward",
        faults.layer_norm_backward_with_one_projection,
    ),
    (
        "layer_norm",
        "backward twice gives the same twice, bit for bit",
        "backward",
        layer_norm_backward_in_place,
    ),
    ("attention", "hidden keys are dropped keys", "forward", attention_with_a_finite_mask),
    (
        "attention",
        "one visible key gives its value, bit for bit",
        "forward",
        attention_with_a_finite_mask,
    ),
    (
        "attention",
        "the values get all of the upstream",
        "backward",
        attention_with_gradients_from_blind_queries,
    ),
    (
        "embedding",
        "the table gets all of the upstream",
        "backward",
        embedding_where_the_last_wins,
    ),
    ("embedding", "padding gets nothing, bit for bit", "forward", embedding_of_zero_padding),
    (
        "cross_entropy",
        "what is ignored is absent, bit for bit",
        "backward",
        cross_entropy_where_all_count,
    ),
    ("cross_entropy", "the loss is -log_softmax", "forward", cross_entropy_of_probabilities),
    ("cross_entropy", "gradients of a row cancel", "backward", cross_entropy_without_softmax),
    ("bce_with_logits", "(x, 0) less (x, 1) is x", "forward", bce_of_a_clipped_sigmoid),
    ("bce_with_logits", "a sum is n means", "backward", faults.bce_backward_without_reduction),
    (
        "dropout",
        "both passes share the mask, bit for bit",
        "backward",
        faults.dropout_without_scale,
    ),
    ("dropout", "the share that is kept is 1 - p", "forward", dropout_with_the_mask_inverted),
    ("adamw", "without eps the first step is lr", "step", adamw_without_bias_correction),
    ("adamw", "amsgrad keeps the largest, bit for bit", "step", adamw_that_forgets_the_largest),
    ("adamw", "decay alone is geometric", "step", adamw_with_decay_in_the_gradient),
]


@pytest.mark.parametrize(
    ("name", "which", "sentence_of", "fault"),
    [
        pytest.param(
            name, which, sentence, fault, id=f"{name}-{sentence}", marks=_about(SUBJECTS[name])
        )
        for name, sentence, which, fault in PLANTED
    ],
)
def test_a_planted_fault_breaks_the_property(
    name: str,
    which: str,
    sentence_of: str,
    fault: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float32, and the message says which backend has it."""
    if which == "step":
        monkeypatch.setitem(OPTIMIZERS, name, fault)
    else:
        monkeypatch.setitem(KERNELS, name, KERNELS[name]._replace(**{which: fault}))
    spec = SUBJECTS[name]
    each = properties_of(spec)[sentence_of]

    @settings(
        max_examples=60,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        database=None,
        derandomize=True,
    )
    @given(each.draws(spec, "float32"))
    def law(case: Any) -> None:
        each.holds(case, "torch")
        each.holds(case, "numpy")

    with pytest.raises(AssertionError, match=r"on numpy"):
        law()
