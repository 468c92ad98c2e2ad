"""No law is empty: each one fails when the fault that it is there for is planted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from twingrad.backends.numpy_backend import NumpyBackend, adamw, dispatch
from twingrad.backends.numpy_backend.dispatch import run_forward
from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS, Kernel
from twingrad.core.catalogue import LAYERS
from twingrad.core.catalogue import OPTIMIZERS as OPTIMIZER_SPECS
from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import Array, Arrays, LayerSpec
from twingrad.parity_tests import (
    test_classes,
    test_error_parity,
    test_forward,
    test_gradient,
    test_layouts,
    test_numeric_gradient,
    test_optimizer_trajectory,
    test_oracles,
    test_stability,
    test_structure,
)
from twingrad.parity_tests.faults import sigmoid
from twingrad.parity_tests.faults.distortions import distorted_gradient
from twingrad.parity_tests.judge import oracle, votes
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.laws import tanh as laws_of_tanh

EXAMPLES = 100
# The laws that are asked of every backend; those of models have their planted faults beside them.
MODULES = (
    test_classes,
    test_forward,
    test_gradient,
    test_layouts,
    test_numeric_gradient,
    test_optimizer_trajectory,
    test_oracles,
    test_stability,
    test_structure,
)

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Vacuity:
    """A fault, and the arguments with which its law must see it."""

    plant: Plant
    arguments: dict[str, Any] = field(default_factory=dict)


def forward(name: str, change: Callable[..., Any]) -> Plant:
    """Plant a change of what the NumPy kernel's forward returns: change(y, *inputs) -> y."""
    honest = KERNELS[name]

    def changed(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
        y, saved = honest.forward(*args, **kwargs)
        return change(y, *args, *kwargs.values()), saved

    return _kernel(name, honest._replace(forward=changed))


def backward(name: str, change: Callable[[Array], Any], position: int = 0) -> Plant:
    """Plant a change of one gradient that the NumPy kernel's backward returns."""
    return _kernel(name, distorted_gradient(KERNELS[name], position, change))


def step(name: str, wrong: Callable[..., tuple[str, ...]]) -> Plant:
    """Plant another step of a NumPy optimizer."""
    return lambda monkeypatch: monkeypatch.setitem(OPTIMIZERS, name, wrong)


def _kernel(name: str, kernel: Kernel) -> Plant:
    return lambda monkeypatch: monkeypatch.setitem(KERNELS, name, kernel)


def _spoil_in_place(y: Array, x: Array) -> Array:
    x += 1
    return y


def _noise(y: Array, *_: Any) -> Array:
    return np.asarray(y * (1 + 1e-6 * np.random.default_rng().random(y.shape)), y.dtype)


def _contiguous_alone(y: Array, x: Array) -> Array:
    """Read memory from its start on, as if there were no strides."""
    return y if x.flags.c_contiguous else y[..., ::-1]


def _stale_step(weight: Array, grad: Array, state: Arrays, step: int, **settings: Any) -> Any:
    before = state["exp_avg"].copy()
    used = adamw.step(weight, grad, state, step, **settings)
    state["exp_avg"][...] = before
    return used


def _step_that_spoils_the_gradient(
    weight: Array, grad: Array, state: Arrays, step: int, **settings: Any
) -> Any:
    used = adamw.step(weight, grad, state, step, **settings)
    grad += 1
    return used


def _deaf_to_maximize(weight: Array, grad: Array, state: Arrays, step: int, **more: Any) -> Any:
    return adamw.step(weight, grad, state, step, **{**more, "maximize": False})


def _mask_after_the_product(
    query: Array, key: Array, value: Array, mask: Any = None, **settings: Any
) -> tuple[Array, Any]:
    """The masked are multiplied by a weight of 0, which a NaN survives."""
    y, saved = KERNEL_OF_ATTENTION.forward(query, key, value, mask, **settings)
    hidden = 0 if mask is None else 0 * (value[..., :1, :] + key.sum())
    return y + hidden, saved


def _with_everything_visible(
    query: Array, key: Array, value: Array, mask: Any = None, **settings: Any
) -> tuple[Array, Any]:
    return KERNEL_OF_ATTENTION.forward(query, key, value, None, **{**settings, "causal": False})


def _aligned_bottom_right(
    query: Array, key: Array, value: Array, mask: Any = None, causal: bool = False, **more: Any
) -> tuple[Array, Any]:
    if causal:
        queries, keys = query.shape[-2], key.shape[-2]
        mask = np.tril(np.ones((queries, keys), bool), keys - queries)
    return KERNEL_OF_ATTENTION.forward(query, key, value, mask, **more)


KERNEL_OF_ATTENTION = KERNELS["attention"]


def _attention(wrong: Callable[..., tuple[Array, Any]]) -> Plant:
    return _kernel("attention", KERNEL_OF_ATTENTION._replace(forward=wrong))


def _sequential_sum(y: Array, x: Array, axis: Any = None, *_: Any) -> Array:
    return np.add.accumulate(x, axis=0)[-1] if axis == 0 and len(x) else y


def _wrong_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = votes._definition
    monkeypatch.setattr(votes, "_definition", lambda *args: honest(*args) * 1.000001 + 1e-9)


def _blind_to_nudges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "in_words", lambda *_: ["all agree"])


def _other_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = oracle.directional
    monkeypatch.setattr(oracle, "directional", lambda case, v: honest(case, v) * 1.001 + 1e-3)


INF, NAN = np.inf, np.nan
TANH = {"spec": LAYERS["tanh"], "dtype": "float64"}
ADAMW = {"optimizer": OPTIMIZER_SPECS["adamw"], "dtype": "float64"}

VACUITY: dict[str, Vacuity] = {
    "test_what_is_not_finite_is_where_the_definition_has_it": Vacuity(
        forward("tanh", lambda y, x: np.nan_to_num(y)), TANH
    ),
    "test_outputs_are_within_their_bound": Vacuity(forward("tanh", lambda y, x: -y), TANH),
    "test_outputs_of_large_arrays_are_within_their_bound": Vacuity(
        forward("tanh", lambda y, x: np.where(np.arange(y.size).reshape(y.shape) == 40, 0, y)), TANH
    ),
    "test_gradients_are_within_their_bound": Vacuity(backward("tanh", lambda g: -g), TANH),
    "test_gradients_of_large_arrays_are_within_their_bound": Vacuity(
        backward("tanh", lambda g: g * 1.000001), TANH
    ),
    "test_layouts_do_not_matter": Vacuity(forward("tanh", _contiguous_alone), TANH),
    "test_empty_arrays_give_empty_gradients": Vacuity(
        backward("tanh", lambda g: g.reshape(-1)[:1] if g.size == 0 else g),
        TANH | {"spec": LAYERS["tanh"]},
    ),
    "test_backward_is_the_adjoint_of_the_derivative": Vacuity(
        backward("tanh", lambda g: g * 1.0001), {"spec": LAYERS["tanh"]}
    ),
    "test_the_complex_step_is_the_derivative": Vacuity(
        _other_derivative, {"layer": LAYERS["tanh"]}
    ),
    "test_both_backends_follow_the_recurrence": Vacuity(step("adamw", _stale_step), ADAMW),
    "test_a_state_goes_on_with_the_other_backend": Vacuity(step("adamw", _stale_step), ADAMW),
    "test_arguments_stay_and_results_are_new": Vacuity(
        step("adamw", _step_that_spoils_the_gradient), ADAMW
    ),
    "test_maximize_is_minimize_of_the_negative": Vacuity(step("adamw", _deaf_to_maximize), ADAMW),
    "test_the_oracles_agree": Vacuity(_wrong_oracle, TANH),
    "test_every_layer_is_in_the_textbook": Vacuity(
        lambda monkeypatch: monkeypatch.delattr(laws_of_tanh, "truth")
    ),
    "test_a_wrong_definition_is_out_voted": Vacuity(_blind_to_nudges, {"dtype": "float32"}),
    "test_elementwise_layers_at_special_values": Vacuity(
        forward("gelu", lambda y, x, *_: np.where(np.isposinf(x), NAN, y)),
        {"name": "gelu", "settings": {"approximate": "none"}, "x": INF, "y": INF, "grad": 1},
    ),
    "test_bce_with_logits_at_special_values": Vacuity(
        forward("bce_with_logits", lambda y, *_: y + 0 * np.asarray(_[0])),
        {"x": INF, "target": 1, "loss": 0, "grad": 0},
    ),
    "test_logits_may_be_anywhere": Vacuity(
        forward("softmax", lambda y, x: np.where(np.abs(x) > 65504, NAN, y)),
        {"name": "softmax", "dtype": "float64"},
    ),
    "test_a_target_that_is_impossible_costs_infinitely_much_and_has_no_slope": Vacuity(
        backward("cross_entropy", lambda g: np.where(g == 0, 0.5, g)), {"dtype": "float64"}
    ),
    "test_a_bias_gets_the_exact_sum_of_many_whole_numbers": Vacuity(
        backward("linear", lambda g: g * (1 + 2**-20), 2), {"dtype": "float64"}
    ),
    "test_the_mean_of_no_losses_is_0": Vacuity(
        forward("bce_with_logits", lambda y, x, *_: y if x.size else np.asarray(NAN))
    ),
    "test_a_logit_of_minus_infinity_is_absent": Vacuity(
        forward("softmax", lambda y, x: np.maximum(y, 1e-30)), {"name": "softmax"}
    ),
    "test_a_constant_row_is_normalised_to_exactly_bias": Vacuity(
        forward("layer_norm", lambda y, x, *_: y + x.dtype.type(1e-7))
    ),
    "test_what_is_masked_is_absent": Vacuity(
        _attention(_mask_after_the_product), {"junk": NAN, "dtype": "float64"}
    ),
    "test_a_nan_in_the_future_does_not_reach_the_past": Vacuity(
        _attention(_with_everything_visible)
    ),
    "test_a_query_with_nothing_to_attend_to_gives_0": Vacuity(_attention(_with_everything_visible)),
    "test_causal_is_aligned_top_left": Vacuity(_attention(_aligned_bottom_right)),
    "test_what_is_dropped_is_gone": Vacuity(
        forward("dropout", lambda y, x, *_: y + 0 * x), {"junk": NAN}
    ),
    "test_the_multiplier_of_dropout_is_rounded_once": Vacuity(
        forward("dropout", lambda y, x, keep, p: x / x.dtype.type(1 - p)), {"p": 0.3}
    ),
    "test_a_million_equal_terms_add_up": Vacuity(forward("sum", _sequential_sum)),
    "test_the_kernels_never_overflow_on_the_way": Vacuity(
        _kernel("sigmoid", KERNELS["sigmoid"]._replace(forward=sigmoid.naive)),
        {"layer": LAYERS["sigmoid"], "dtype": "float32"},
    ),
    "test_shapes_and_dtypes_follow_the_inputs": Vacuity(
        forward("tanh", lambda y, x: y.astype(np.float64)), TANH | {"dtype": "float32"}
    ),
    "test_no_input_is_changed": Vacuity(forward("tanh", _spoil_in_place), TANH),
    "test_outputs_share_no_memory": Vacuity(
        # The kernels may return views of what they were given; the backend must not.
        lambda monkeypatch: monkeypatch.setattr(
            NumpyBackend, "forward", lambda self, *args: run_forward(*args)[0]
        ),
        {"spec": OPERATIONS["reshape"], "dtype": "float64"},
    ),
    "test_the_same_call_gives_the_same_bits": Vacuity(forward("tanh", _noise), TANH),
    "test_a_gradient_is_linear_in_powers_of_two": Vacuity(
        backward("tanh", lambda g: np.where(np.abs(g) > 2, g * 1.5, g)), TANH
    ),
}


@pytest.mark.parametrize("law", VACUITY)
def test_the_law_fails_for_its_fault(
    law: str, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    case, holds = VACUITY[law], laws()[law]
    case.plant(monkeypatch)
    # A session of its own, so that the errors of a planted fault are in no backend's record.
    own = {"session": session.apart()} if "session" in arguments(holds) else {}
    with pytest.raises((AssertionError, FloatingPointError, ValueError)):
        without_shrinking(holds)(**case.arguments, **own)


def arguments(law: Callable[..., None]) -> set[str]:
    """Return what a law takes, but for what Hypothesis gives it."""
    return set(inspect.signature(law).parameters)


def without_shrinking(law: Callable[..., None]) -> Callable[..., None]:
    """Return a law that stops at its first failure: that there is one is all that matters here."""
    if not hypothesis.is_hypothesis_test(law):
        return law
    drawing = hypothesis.given(data=st.data())(law.hypothesis.inner_test)  # type: ignore[attr-defined]
    settings = hypothesis.settings(
        deadline=None,
        max_examples=EXAMPLES,
        phases=[hypothesis.Phase.generate],
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    stopping: Callable[..., None] = settings(drawing)
    return stopping


def laws() -> dict[str, Callable[..., None]]:
    """Return every law of the modules, by name."""
    return {name: law for module in MODULES for name, law in _laws_of(module)}


def _laws_of(module: ModuleType) -> list[tuple[str, Callable[..., None]]]:
    return [
        (name, law)
        for name, law in inspect.getmembers(module, inspect.isfunction)
        if name.startswith("test_")
    ]


def test_every_law_has_a_fault() -> None:
    assert VACUITY.keys() == laws().keys()


@pytest.mark.parametrize(
    "law",
    [
        test_error_parity.test_a_wrong_shape_is_refused,
        test_error_parity.test_mixed_dtypes_are_refused,
    ],
)
def test_a_law_of_refusals_sees_a_backend_that_checks_nothing(
    law: Callable[[LayerSpec, Session], None],
    monkeypatch: pytest.MonkeyPatch,
    session: Session,
) -> None:
    monkeypatch.setattr(dispatch, "check_call", lambda *_: None)
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        law(LAYERS["linear"], session.apart())
