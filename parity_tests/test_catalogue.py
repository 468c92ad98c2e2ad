"""What libraries have disagreed on, each as a law: the catalogue of known disagreements.

ROWS maps each row's title to the laws that hold it down, wherever they stand. Rows that another
file's law covers are not repeated here. Numbers like pytorch#101967 are where a row was reported.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.spec import Array, OptimizerSpec
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.bounds import bounds
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import check_forward, check_gradient
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.laws.roundings import FUNCTION
from twingrad.parity_tests.test_layouts import LAYOUTS

INF = float("inf")

ROWS: dict[str, tuple[str, ...]] = {
    "scores far from 0: value gradients n times too large": (
        "test_catalogue::test_value_gradients_add_up_to_the_upstream_gradient",
    ),
    "a query with nothing to attend to": (
        "test_stability::test_a_query_with_nothing_to_attend_to_gives_0",
        "test_attention_module::test_a_query_with_nothing_to_attend_to_gets_zero_from_every_head",
        "test_catalogue::test_asking_for_weights_does_not_change_the_output",
    ),
    "NaN in a masked key or value": (
        "test_stability::test_what_is_masked_is_absent",
        "test_stability::test_a_nan_in_the_future_does_not_reach_the_past",
        "test_attention_module::test_what_is_hidden_changes_nothing",
    ),
    "causal with more keys than queries": ("test_stability::test_causal_is_aligned_top_left",),
    "cross entropy with nothing counted": (
        "test_catalogue::test_the_cross_entropy_of_nothing_counted_is_0",
    ),
    "cross entropy with weights that add up to 0": (
        "test_catalogue::test_the_cross_entropy_of_nothing_counted_is_0",
    ),
    "ignored targets beside weights and label smoothing": (
        "test_absence::test_what_is_ignored_is_absent_and_gets_no_gradient",
    ),
    "gradients of an embedding added up in its dtype": (
        "test_special_points::test_an_id_that_is_everywhere_gets_all_its_gradients",
        "test_catalogue::test_gradients_of_an_id_add_up_in_16_bits",
    ),
    "ids out of range": ("test_error_parity::test_an_index_out_of_range_is_named_with_its_place",),
    "attention to no keys": ("test_catalogue::test_attention_to_no_keys_is_0",),
    "GELU's left tail": (
        "test_definitions::test_the_handwritten_normal_distribution_is_right_in_its_tails",
        "test_catalogue::test_gelu_of_a_negative_number_is_never_positive",
        "test_catalogue::test_handwritten_tails_and_slopes_keep_their_digits",
    ),
    "GELU and its gradient at +-inf": (
        "test_stability::test_elementwise_layers_at_special_values",
    ),
    "GELU overflows at 3e38": ("test_stability::test_elementwise_layers_at_special_values",),
    "GELU-tanh's gradient is NaN beyond 1.8e19": (
        "test_stability::test_elementwise_layers_at_special_values",
    ),
    "erf and tanh GELU mixed up": (
        "test_definitions::test_the_two_forms_of_gelu_differ_as_they_should",
        "test_catalogue::test_the_two_forms_of_gelu_are_two",
    ),
    "gradients of tanh and sigmoid in saturation": (
        "test_gradient::test_gradients_are_within_their_bound",
        "test_catalogue::test_handwritten_tails_and_slopes_keep_their_digits",
    ),
    "tanh above 1": ("test_catalogue::test_tanh_and_sigmoid_stay_in_their_range",),
    "sigmoid below the normal numbers": (
        "test_seed_faults::test_b3_sigmoid_and_tanh_neither_overflow_nor_lose_digits",
        "test_catalogue::test_a_sigmoid_below_the_normal_numbers_is_right_or_0",
    ),
    "float16 tanh that ends at 0.9985": ("test_catalogue::test_tanh_of_float16_reaches_1",),
    "BCE at +-inf": ("test_stability::test_bce_with_logits_at_special_values",),
    "BCE with pos_weight NaN where it is finite without": (
        "test_stability::test_bce_with_logits_at_special_values",
        "test_catalogue::test_a_pos_weight_of_1_changes_nothing",
    ),
    "the mean of nothing": (
        "test_stability::test_the_mean_of_no_losses_is_0",
        "test_layouts::test_empty_arrays_give_empty_gradients",
    ),
    "rows of -inf, and +inf, in softmax": (
        "test_stability::test_a_logit_of_minus_infinity_is_absent",
        "test_catalogue::test_a_logit_of_plus_infinity_spoils_its_own_row",
    ),
    "LayerNorm at a large mean": (
        "test_catalogue::test_layer_norm_keeps_its_digits_at_a_large_mean",
    ),
    "LayerNorm overflows in float16": (
        "test_catalogue::test_layer_norm_of_large_float16_numbers_does_not_overflow",
    ),
    "LayerNorm of a constant row": (
        "test_stability::test_a_constant_row_is_normalised_to_exactly_bias",
    ),
    "LayerNorm's eps": ("test_catalogue::test_eps_stands_inside_the_root",),
    "LayerNorm's backward hidden by a variance of 1": (
        "test_catalogue::test_layer_norm_gradients_are_right_at_every_scale",
        "test_catalogue::test_float16_gradients_of_parameters_are_added_in_more_digits",
    ),
    "picked elements added in their own dtype": (
        "test_catalogue::test_a_row_that_is_picked_often_gets_the_whole_sum",
        "test_catalogue::test_a_float16_row_that_is_picked_often_gets_the_whole_sum",
    ),
    "an element picked twice": (
        "test_catalogue::test_an_element_picked_twice_gets_both_gradients",
    ),
    "dropout of inf and NaN": ("test_stability::test_what_is_dropped_is_gone",),
    "Adam's eps before or after the bias correction": (
        "test_catalogue::test_adamws_eps_is_added_after_the_bias_correction",
    ),
    "AdamW on a gradient of 0": ("test_catalogue::test_a_zero_gradient_only_decays_the_weight",),
    "AdamW's range in float32": ("test_catalogue::test_adamws_first_step_has_the_size_of_lr",),
    "amsgrad that forgets": ("test_catalogue::test_amsgrad_remembers_the_largest_second_moment",),
    "optimizers on strided parameters": ("test_catalogue::test_optimizers_do_not_mind_strides",),
    "the running mean changes its formula at 0.5": (
        "test_catalogue::test_a_running_mean_of_whole_numbers_is_exact",
        "test_catalogue::test_a_beta1_of_0_forgets_the_old_mean",
    ),
    "gradients of stretched inputs": (
        "test_catalogue::test_gradients_of_stretched_inputs_are_exact_sums",
    ),
    "promotion by NumPy's scalars": (
        "test_tape::test_python_numbers_keep_the_dtype",
        "test_tape::test_two_dtypes_do_not_mix",
        "test_catalogue::test_a_numpy_scalar_does_not_widen_a_tensor",
    ),
    "strides, byte order and read-only arrays": (
        "test_layouts::test_layouts_do_not_matter",
        "test_structure::test_no_input_is_changed",
        "test_catalogue::test_byte_order_does_not_matter",
    ),
    "slopes at ties and at 0": (
        "test_stability::test_elementwise_layers_at_special_values",
        "test_catalogue::test_the_slope_of_a_root_at_0_is_infinite",
    ),
    "a dead branch leaks NaN": (
        "test_stability::test_what_is_masked_is_absent",
        "test_stability::test_what_is_dropped_is_gone",
    ),
    "the variance of one element": (
        "test_stability::test_a_constant_row_is_normalised_to_exactly_bias",
    ),
    "long sums over the first axis": ("test_stability::test_a_million_equal_terms_add_up",),
    "softplus with a threshold of 20": ("test_catalogue::test_the_loss_has_no_threshold",),
    "means of unequal parts": (
        "test_catalogue::test_a_mean_over_unequal_parts_weighs_them_by_their_counts",
    ),
}


def normal(seed: int, *shape: int, dtype: str = "float64") -> Array:
    """Return standard normal numbers that belong to a seed."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def case(name: str, inputs: dict[str, Array], seed: int = 0, **settings: Any) -> Case:
    """Return a case of a layer with all its settings and a random upstream gradient."""
    spec = tg.layer(name)
    full = spec.defaults() | settings
    shape = tg.forward(name, inputs, backend="numpy", **settings).shape
    dtype = str(next(x.dtype for x in inputs.values() if x.dtype != bool))
    return Case(spec, inputs, full, normal(seed, *shape, dtype=dtype))


def units(values: Array, expected: Array) -> Array:
    """Return how many units in the last place of `expected` the values are off."""
    info = np.finfo(values.dtype)
    _, exponent = np.frexp(np.maximum(np.abs(expected), float(info.smallest_normal)))
    return np.asarray(np.abs(values - expected) / np.ldexp(float(info.eps), exponent - 1))


@pytest.mark.parametrize("title", ROWS)
def test_every_row_names_laws_that_exist(title: str) -> None:
    assert ROWS[title]
    for law in ROWS[title]:
        file, name = law.split("::")
        tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, law


def test_every_law_of_this_file_is_in_a_row() -> None:
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    here = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    laws = {name for name in here if name.startswith("test_") and not name.startswith("test_every")}
    named = {law.split("::")[1] for row in ROWS.values() for law in row}
    assert laws <= named


# Attention


@pytest.mark.about("attention")
@pytest.mark.parametrize("score", [-(2.0**14), -(2.0**28), 2.0**28])
def test_value_gradients_add_up_to_the_upstream_gradient(
    score: float, dtype: str, session: Session
) -> None:
    """Scores far from 0 (cf. pytorch#133671, pytorch#110213): equal ones still share equally.

    Each value gets a quarter of the upstream gradient from each query, bit for bit.
    """
    root = float(np.sqrt(abs(score)))
    query = np.full((1, 1, 3, 1), root, dtype)
    key = np.full((1, 1, 4, 1), np.copysign(root, score), dtype)
    value = normal(1, 1, 1, 4, 1, dtype=dtype)  # as wide as the keys, as fused kernels want it
    grad_y = np.array([-3, 1, 7], dtype).reshape(1, 1, 3, 1)
    for mask in (None, np.ones((3, 4), bool)):
        inputs = {"query": query, "key": key, "value": value, "mask": mask}
        for backend in session.options.backends:
            _, grads = tg.vjp("attention", inputs, grad_y, backend=backend, scale=1.0)
            share = grad_y.sum(axis=2, keepdims=True) / 4
            np.testing.assert_array_equal(
                grads["value"], np.broadcast_to(share, value.shape), backend
            )


@pytest.mark.about("attention")
def test_asking_for_weights_does_not_change_the_output(session: Session) -> None:
    """A fully masked row, with weights and without (pytorch#103749, #103963, #160064)."""
    x, hidden = normal(2, 2, 3, 8), np.array([[False, True, False], [True, True, True]])
    for backend in session.options.backends:
        module = tg.MultiHeadAttention(8, 2, batch_first=True)
        model = tg.build(module, backend, dtype="float64")
        outputs = [
            tg.to_numpy(model(x, x, x, key_padding_mask=hidden, need_weights=need)[0])
            for need in (True, False)
        ]
        np.testing.assert_array_equal(outputs[0], outputs[1], backend)
        assert outputs[0][0].any(), backend
        bias = tg.to_numpy(model.out_proj.bias)
        np.testing.assert_array_equal(outputs[0][1], np.broadcast_to(bias, (3, 8)), backend)


@pytest.mark.about("attention")
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_attention_to_no_keys_is_0(lead: tuple[int, ...], dtype: str, session: Session) -> None:
    """Zero keys (measured): nothing to attend to gives 0, whichever way it comes about."""
    inputs = {
        "query": normal(3, *lead, 2, 3, dtype=dtype),
        "key": np.empty((*lead, 0, 3), dtype),
        "value": np.empty((*lead, 0, 5), dtype),
    }
    grad_y = normal(4, *lead, 2, 5, dtype=dtype)
    for backend in session.options.backends:
        for more in ({}, {"mask": np.ones((2, 0), bool)}):
            for causal in (False, True):
                y, grads = tg.vjp(
                    "attention", inputs | more, grad_y, backend=backend, causal=causal
                )
                np.testing.assert_array_equal(y, np.zeros((*lead, 2, 5), dtype), backend)
                np.testing.assert_array_equal(grads["query"], 0, backend)
                assert grads["key"].shape == inputs["key"].shape
                assert grads["value"].shape == inputs["value"].shape


# Elementwise layers


@pytest.mark.about("gelu")
@pytest.mark.parametrize("form", ["none", "tanh"])
def test_gelu_of_a_negative_number_is_never_positive(
    form: str, dtype: str, session: Session
) -> None:
    """GELU's left tail (pytorch#187806, pytorch#189804): its sign and its bound hold there."""
    x = -np.geomspace(1e-30, 1e30, 2001).astype(dtype)
    for backend in session.options.backends:
        assert np.all(tg.forward("gelu", {"x": x}, backend=backend, approximate=form) <= 0), backend
    check_forward(case("gelu", {"x": x}, approximate=form), session)


@pytest.mark.about("gelu", "tanh", "sigmoid")
@pytest.mark.parametrize(
    ("name", "settings", "far"),
    [
        ("gelu", {"approximate": "none"}, 12.9),
        ("gelu", {"approximate": "tanh"}, 9.0),
        ("tanh", {}, 40.0),
        ("sigmoid", {}, 87.0),
    ],
)
def test_handwritten_tails_and_slopes_keep_their_digits(
    name: str, settings: dict[str, Any], far: float
) -> None:
    """Tails and saturation (pytorch#187806, tt-metal#54882, torch-xpu-ops#3043).

    The formulas 1 + erf and 1 - y^2 have no digit left there. In float32 the handwritten kernels
    are right to one unit in the last place wherever the result is a normal number.
    """
    x = -np.linspace(0.5, far, 4001).astype(np.float32)
    tried = case(name, {"x": x}, **settings)
    tried = Case(tried.spec, tried.inputs, tried.settings, np.ones_like(x))
    y, grads = tg.vjp(name, {"x": x}, tried.grad_y, backend="numpy", **settings)
    _, slopes = oracle.gradients(tried)["x"]
    assert units(y, oracle.output(tried)).max() <= 1
    assert units(grads["x"], slopes).max() <= 1


@pytest.mark.about("gelu")
def test_the_two_forms_of_gelu_are_two(session: Session) -> None:
    """The erf and tanh forms mixed up (transformers and others): they are 4.7e-4 apart."""
    x = np.linspace(-5, 5, 20_001)
    for backend in session.options.backends:
        exact, tanh = (
            tg.forward("gelu", {"x": x}, backend=backend, approximate=form)
            for form in ("none", "tanh")
        )
        assert f"{np.abs(exact - tanh).max():.1e}" == "4.7e-04", backend


@pytest.mark.about("tanh", "sigmoid")
def test_tanh_and_sigmoid_stay_in_their_range(session: Session) -> None:
    """A tanh above 1 in a vectorised kernel (tensorflow#55394): never, on a grid of all floats."""
    bits = np.arange(0, 2**32, 2**14, dtype=np.uint64).astype(np.uint32)
    near = np.linspace(-100, 100, 200_001).astype(np.float32)
    x = np.concatenate([bits.view(np.float32), near])
    x = x[np.isfinite(x)]
    for dtype in (np.float16, np.float32):
        points = np.arange(2**16, dtype=np.uint16).view(np.float16) if dtype == np.float16 else x
        points = points[np.isfinite(points)]
        for backend in session.options.backends:
            tanh = tg.forward("tanh", {"x": points}, backend=backend)
            sigmoid = tg.forward("sigmoid", {"x": points}, backend=backend)
            assert np.abs(tanh).max() == 1, backend
            assert (sigmoid.min(), sigmoid.max()) == (0, 1), backend


@pytest.mark.about("sigmoid")
def test_a_sigmoid_below_the_normal_numbers_is_right_or_0(session: Session) -> None:
    """Sigmoid where e^x is subnormal (measured): half a unit off, or flushed to 0, never more."""
    x = -np.linspace(87.4, 110, 2001).astype(np.float32)
    right = oracle.output(case("sigmoid", {"x": x}))
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    for backend in session.options.backends:
        y = tg.forward("sigmoid", {"x": x}, backend=backend).astype(np.float64)
        # e^x itself is a function of FUNCTION roundings, here of at most 23 bits.
        close = np.abs(y - right) <= smallest + FUNCTION * np.finfo(np.float32).eps * right
        assert np.all(close | (y == 0)), backend


@pytest.mark.about("tanh")
def test_tanh_of_float16_reaches_1(session: Session) -> None:
    """float16 tanh that ends at 0.9985 (numpy#30821): it is 1 wherever 1 is nearest."""
    x = np.linspace(4.6, 65504, 4001).astype(np.float16)
    for backend in session.options.backends:
        for sign in (-1, 1):
            y = tg.forward("tanh", {"x": sign * x}, backend=backend)
            np.testing.assert_array_equal(y, np.full(4001, sign, np.float16), backend)


# Losses


@pytest.mark.about("cross_entropy")
@pytest.mark.parametrize("why", ["ignored", "weights of 0", "no rows"])
def test_the_cross_entropy_of_nothing_counted_is_0(why: str, dtype: str, session: Session) -> None:
    """And its gradient: never 0 / 0."""
    x, target = np.array([[1.0, -2.0, 0.5]] * 2, dtype), np.array([1, 0])
    inputs: dict[str, Any] = {"x": x, "target": target}
    if why == "ignored":
        inputs["target"] = np.full(2, -100)
    elif why == "weights of 0":
        inputs["weight"] = np.array([0, 0, 1], dtype)
    else:
        inputs = {"x": x[:0], "target": target[:0]}
    for name in session.options.backends:
        for reduction in ("mean", "sum"):
            y, grads = tg.vjp(
                "cross_entropy", inputs, np.ones((), dtype), backend=name, reduction=reduction
            )
            assert y == 0, f"{reduction} on {name}"
            assert not grads["x"].any(), f"{reduction} on {name}"


@pytest.mark.about("embedding")
def test_gradients_of_an_id_add_up_in_16_bits(session: Session) -> None:
    """5,000 ones, where 2,048 is the last number that one more changes in float16."""
    inputs = {"ids": np.zeros(5000, np.int64), "weight": np.zeros((2, 1), np.float16)}
    for name in session.options.backends:
        grad_y = np.ones((5000, 1), np.float16)
        _, grads = tg.vjp("embedding", inputs, grad_y, backend=name)
        np.testing.assert_array_equal(grads["weight"], np.array([[5000], [0]], np.float16), name)


@pytest.mark.about("bce_with_logits")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_pos_weight_of_1_changes_nothing(reduction: str, dtype: str, session: Session) -> None:
    """BCE with pos_weight NaN where it is finite without (pytorch#13773): equal, bit for bit."""
    x = normal(5, 64, dtype=dtype) * np.asarray([1, 100, 1e4, 1e10] * 16, dtype)
    inputs = {"x": x, "target": np.random.default_rng(6).random(64).astype(dtype)}
    ones = {"pos_weight": np.ones(1, dtype)}
    grad_y = normal(7, *(x.shape if reduction == "none" else ()), dtype=dtype)
    for backend in session.options.backends:
        results = [
            tg.vjp("bce_with_logits", inputs | more, grad_y, backend=backend, reduction=reduction)
            for more in ({}, ones)
        ]
        assert np.isfinite(results[0][0]).all()
        np.testing.assert_array_equal(results[1][0], results[0][0], backend)
        np.testing.assert_array_equal(results[1][1]["x"], results[0][1]["x"], backend)


@pytest.mark.about("bce_with_logits")
def test_the_loss_has_no_threshold(session: Session) -> None:
    """Softplus with a threshold of 20 (measured): log(1 + e^-x) is there beyond it, too."""
    x = np.concatenate([np.linspace(19.9, 20.1, 201), np.linspace(-40, 40, 401)])
    for target in (0.0, 1.0):
        tried = case("bce_with_logits", {"x": x, "target": np.full_like(x, target)})
        check_gradient(tried, session)
        each = case(
            "bce_with_logits", {"x": x, "target": np.full_like(x, target)}, reduction="none"
        )
        check_forward(each, session)
        # A softplus that is x beyond 20 would be caught.
        linear = np.where(x > 20, x - x * target, oracle.output(each).astype(np.float64))
        assert np.any(np.abs(linear - oracle.output(each)) > bounds(each)["y"])


@pytest.mark.about("bce_with_logits")
def test_a_mean_over_unequal_parts_weighs_them_by_their_counts(
    dtype: str, session: Session
) -> None:
    """Accumulated gradients (transformers#34191, pytorch#37359): parts of 3 and 13 of 16 losses.

    The gradient of the whole mean is that of the parts' sums over the global count.
    """
    x, target = normal(8, 16, dtype=dtype), (normal(9, 16) > 0).astype(dtype)
    count = np.asarray(1 / 16, dtype)
    for backend in session.options.backends:
        _, whole = tg.vjp(
            "bce_with_logits", {"x": x, "target": target}, np.ones((), dtype), backend=backend
        )
        parts = [
            tg.vjp(
                "bce_with_logits",
                {"x": x[part], "target": target[part]},
                count,
                backend=backend,
                reduction="sum",
            )[1]["x"]
            for part in (slice(3), slice(3, None))
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole["x"], backend)


@pytest.mark.about("softmax", "log_softmax")
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_logit_of_plus_infinity_spoils_its_own_row(name: str, session: Session) -> None:
    """A row with +inf (pytorch#6864, pytorch#31829): NaN there, and nowhere else."""
    x, grad_y = normal(10, 3, 4), normal(11, 3, 4)
    clean = x.copy()
    x[1, 2] = INF
    for backend in session.options.backends:
        y, grads = tg.vjp(name, {"x": x}, grad_y, backend=backend)
        expected, expected_grads = tg.vjp(name, {"x": clean}, grad_y, backend=backend)
        assert np.isnan(y[1]).all(), backend
        assert np.isnan(grads["x"][1]).all(), backend
        np.testing.assert_array_equal(y[[0, 2]], expected[[0, 2]], backend)
        np.testing.assert_array_equal(grads["x"][[0, 2]], expected_grads["x"][[0, 2]], backend)


# LayerNorm


@pytest.mark.about("layer_norm")
@pytest.mark.parametrize("mean", [0.0, 2e3, 1e6])
def test_layer_norm_keeps_its_digits_at_a_large_mean(mean: float, session: Session) -> None:
    """One-pass variance at a large mean (pytorch#51102, #40302, #190491): two passes are right."""
    x = normal(12, 5, 100, dtype="float32") + np.float32(mean)
    tried = case("layer_norm", {"x": x})
    check_forward(tried, session)
    check_gradient(tried, session)
    if mean:
        # E(x^2) - E(x)^2 in float32, which the bound must tell from rounding.
        square = (x * x).mean(axis=-1, keepdims=True) - x.mean(axis=-1, keepdims=True) ** 2
        root = np.sqrt(np.maximum(square, 0) + np.float32(1e-5))
        one_pass = (x - x.mean(axis=-1, keepdims=True)) / root
        assert np.any(np.abs(one_pass - oracle.output(tried)) > bounds(tried)["y"])


@pytest.mark.about("layer_norm")
def test_layer_norm_of_large_float16_numbers_does_not_overflow(session: Session) -> None:
    """Squares beyond float16 (measured): sums are taken in at least float32."""
    x = (normal(13, 4, 32) * 2e4).clip(-65504, 65504).astype(np.float16)
    tried = case("layer_norm", {"x": x})
    for backend in session.options.backends:
        y, grads = tg.vjp("layer_norm", {"x": x}, tried.grad_y, backend=backend)
        # Rounded once or twice in float16; the rest is done in float32.
        assert units(y, oracle.output(tried)).max() <= 1, backend
        assert np.isfinite(grads["x"]).all(), backend


@pytest.mark.about("layer_norm")
def test_eps_stands_inside_the_root(dtype: str, session: Session) -> None:
    """BERT's 1e-12, torch's 1e-5, and eps outside (transformers#15332, pyg#2917).

    A row of -1 and 1 has variance 1, so that eps = 3 halves it: 1 / sqrt(1 + 3).
    """
    x = np.array([[-1, 1]], dtype)
    for backend in session.options.backends:
        y = tg.forward("layer_norm", {"x": x}, backend=backend, eps=3.0)
        np.testing.assert_array_equal(y, x / 2, backend)
        bare = tg.forward("layer_norm", {"x": x}, backend=backend, eps=0.0)
        np.testing.assert_array_equal(bare, x, backend)
    assert tg.layer("layer_norm").settings["eps"].default == 1e-5


@pytest.mark.about("layer_norm")
@pytest.mark.parametrize("eps", [1e-12, 1e-5])
def test_layer_norm_gradients_are_right_at_every_scale(
    eps: float, dtype: str, session: Session
) -> None:
    """A wrong backward that a variance of 1 hides (FlagGems#5222, llm.c#428, pytorch#57796)."""
    for number, scale in enumerate([1e-6, 1e-3, 1.0, 1e3, 1e6]):
        inputs = {
            "x": (normal(number, 4, 6) * scale).astype(dtype),
            "weight": normal(20, 6, dtype=dtype),
            "bias": normal(21, 6, dtype=dtype),
        }
        check_gradient(case("layer_norm", inputs, eps=eps), session)


@pytest.mark.about("layer_norm", "linear")
def test_float16_gradients_of_parameters_are_added_in_more_digits(session: Session) -> None:
    """Parameter gradients added in a low precision (openxla/xla#8225): 5000 ones are 5000."""
    x, ones = np.tile(np.array([-1, 1], np.float16), (5000, 1)), np.ones(2, np.float16)
    grad_y = np.ones((5000, 2), np.float16)
    for backend in session.options.backends:
        inputs = {"x": x, "weight": ones, "bias": ones}
        _, grads = tg.vjp("layer_norm", inputs, grad_y, backend=backend, eps=0.0)
        np.testing.assert_array_equal(grads["weight"], [-5000, 5000], backend)
        np.testing.assert_array_equal(grads["bias"], [5000, 5000], backend)
        inputs = {"x": x, "weight": np.eye(2, dtype=np.float16), "bias": ones}
        _, grads = tg.vjp("linear", inputs, grad_y, backend=backend)
        np.testing.assert_array_equal(grads["weight"], [[-5000, 5000]] * 2, backend)
        np.testing.assert_array_equal(grads["bias"], [5000, 5000], backend)


# Indexing, stretching, dtypes and memory

# The derivatives by x and by y, exact in floating point for the numbers that are tried.
SLOPES: dict[str, Callable[[Array, Array], tuple[Any, Any]]] = {
    "add": lambda x, y: (1, 1),
    "sub": lambda x, y: (1, -1),
    "mul": lambda x, y: (y, x),
    "div": lambda x, y: (1 / y, -x / (y * y)),
}


@pytest.mark.about("getitem")
def test_a_row_that_is_picked_often_gets_the_whole_sum(session: Session) -> None:
    """Gradients of picked rows (mxnet#17703): 200,000 times 0.1 is 20,000 within the bound."""
    index = (np.zeros(200_000, np.int64),)
    tried = case("getitem", {"x": np.ones((2, 1), np.float32)}, index=index)
    grad_y = np.full((200_000, 1), 0.1, np.float32)
    check_gradient(Case(tried.spec, tried.inputs, tried.settings, grad_y), session)


@pytest.mark.about("getitem")
def test_a_float16_row_that_is_picked_often_gets_the_whole_sum(session: Session) -> None:
    """Gradients of picked rows in float16 (mxnet#17703): 5000 ones are 5000, and not 2048."""
    index = (np.zeros(5000, np.int64),)
    grad_y = np.ones((5000, 1), np.float16)
    for backend in session.options.backends:
        _, grads = tg.vjp(
            "getitem", {"x": np.ones((2, 1), np.float16)}, grad_y, backend=backend, index=index
        )
        np.testing.assert_array_equal(grads["x"], [[5000], [0]], backend)


@pytest.mark.about("getitem")
def test_an_element_picked_twice_gets_both_gradients(dtype: str, session: Session) -> None:
    """NumPy's x[index] += g (measured) drops what is picked again; the sums here are exact."""
    grad_y = np.array([1, 2, 4, 8, 16], dtype)
    for backend in session.options.backends:
        _, grads = tg.vjp(
            "getitem",
            {"x": np.zeros(4, dtype)},
            grad_y,
            backend=backend,
            index=(np.array([2, 0, 2, -1, 2]),),
        )
        np.testing.assert_array_equal(grads["x"], [2, 0, 21, 8], backend)


@pytest.mark.about("add", "sub", "mul", "div")
@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [((), (3,)), ((1,), (3,)), ((2, 1), (3,)), ((4, 1, 3), (2, 1)), ((1, 1), (5, 4, 2)), ((), ())],
)
def test_gradients_of_stretched_inputs_are_exact_sums(
    name: str, x_shape: tuple[int, ...], y_shape: tuple[int, ...], dtype: str, session: Session
) -> None:
    """Un-broadcasting (pytorch#1787, HIPS/autograd#376, nd4j#2424): sums of whole numbers."""
    rng = np.random.default_rng(14)
    shape = np.broadcast_shapes(x_shape, y_shape)
    x = rng.integers(-8, 9, x_shape).astype(dtype)
    y = rng.choice([-4.0, -2.0, 1.0, 2.0], y_shape).astype(dtype)  # divisors without rounding
    grad_y = rng.integers(-8, 9, shape).astype(dtype)
    for backend in session.options.backends:
        _, grads = tg.vjp(name, {"x": x, "y": y}, grad_y, backend=backend)
        for key, small, slope in zip("xy", (x, y), SLOPES[name](x, y), strict=True):
            full = grad_y * slope
            lead = full.ndim - small.ndim
            axes = tuple(range(lead)) + tuple(
                lead + axis for axis, length in enumerate(small.shape) if length == 1
            )
            expected = full.sum(axis=axes, keepdims=True).reshape(small.shape)
            np.testing.assert_array_equal(grads[key], expected, f"{backend} {key}", strict=True)


@pytest.mark.about("add", "sub", "mul", "div")
def test_a_numpy_scalar_does_not_widen_a_tensor(session: Session) -> None:
    """A float32 array times np.float64(2) is float64 in NumPy 2 (NEP 50); a tensor stays."""
    two = np.float64(2)
    for backend in session.options.backends:
        x = tg.tensor(np.array([1, 3], np.float32), backend, requires_grad=True)
        for y in (x * two, two * x, x / two, x + two, two - x):
            assert tg.to_numpy(y).dtype == np.float32, backend


@pytest.mark.about("linear")
def test_byte_order_does_not_matter(session: Session) -> None:
    """Big-endian arrays (measured): torch.from_numpy refuses them, and a file may hold them."""
    inputs = {"x": normal(15, 3, 4), "weight": normal(16, 2, 4), "bias": normal(17, 2)}
    grad_y = normal(18, 3, 2)
    swapped = {name: x.astype(x.dtype.newbyteorder()) for name, x in inputs.items()}
    for backend in session.options.backends:
        y, grads = tg.vjp("linear", inputs, grad_y, backend=backend)
        y2, grads2 = tg.vjp("linear", swapped, grad_y.astype(">f8"), backend=backend)
        np.testing.assert_array_equal(y2, y, backend)
        for name, grad in grads.items():
            np.testing.assert_array_equal(grads2[name], grad, f"{backend} {name}")


@pytest.mark.about("sqrt")
def test_the_slope_of_a_root_at_0_is_infinite(dtype: str, session: Session) -> None:
    """Slopes at 0 (measured): that of a square root is inf, with the sign of what flows in."""
    x, grad_y = np.array([0, 4, 0], dtype), np.array([3, 8, -1], dtype)
    for backend in session.options.backends:
        y, grads = tg.vjp("sqrt", {"x": x}, grad_y, backend=backend)
        np.testing.assert_array_equal(y, [0, 2, 0], backend)
        np.testing.assert_array_equal(grads["x"], [INF, 2, -INF], backend)


# Optimizers


@pytest.mark.about("adamw")
def test_adamws_eps_is_added_after_the_bias_correction(dtype: str, session: Session) -> None:
    """eps hat or eps (pytorch#22628, tensorflow#35102, transformers#35504): torch's, outside.

    With a gradient of 1 and eps = 1 the first step is lr / (1 + 1), whatever the betas are.
    """
    weight, grad = np.zeros(2, dtype), np.array([1, -1], dtype)
    for betas in ((0.5, 0.75), (0.0, 0.0)):
        for backend in session.options.backends:
            new, _ = tg.optimizer_step(
                "adamw", weight, grad, backend=backend, lr=0.5, betas=betas, eps=1.0, weight_decay=0
            )
            np.testing.assert_array_equal(new, [-0.25, 0.25], backend)


@pytest.mark.about("adamw")
def test_a_zero_gradient_only_decays_the_weight(dtype: str, session: Session) -> None:
    """0 / (0 + eps) (pytorch#147437): the step is 0, and the decay is that of the weight before."""
    weight = np.array([1, -2, 4], dtype)
    for backend in session.options.backends:
        new, state = weight, None
        for power in (1, 2, 3):
            new, state = tg.optimizer_step(
                "adamw", new, np.zeros(3, dtype), state, backend=backend, lr=0.5, weight_decay=0.5
            )
            np.testing.assert_array_equal(new, weight * 0.75**power, backend)


@pytest.mark.about("adamw")
def test_adamws_first_step_has_the_size_of_lr(session: Session) -> None:
    """Squares near the ends of float32 (measured): lr g / (|g| + eps) from 1e-25 to 1e20.

    (1 - beta2) * g comes before * g, so that the square of 1e20 does not overflow.
    """
    grad = np.array([1e-25, -1e-16, 1e-8, -1e-3, 1, -1e10, 1e19, -1e20], np.float32)
    wide = grad.astype(np.float64)
    right = -wide / (np.abs(wide) + 1e-8)
    for backend in session.options.backends:
        new, _ = tg.optimizer_step(
            "adamw", np.zeros_like(grad), grad, backend=backend, lr=1.0, weight_decay=0.0
        )
        # The second moment carries 4 roundings, halved by the root; the rest of the step 6.
        allowed = 8 * float(np.finfo(np.float32).eps) * np.abs(right)
        assert np.all(np.abs(new - right) <= allowed), backend


@pytest.mark.about("adamw")
def test_amsgrad_remembers_the_largest_second_moment(dtype: str, session: Session) -> None:
    """amsgrad that forgets (pytorch#78807, pytorch#104990): the state is the maximum so far."""
    for backend in session.options.backends:
        weight, state = np.ones(5, dtype), None
        largest = np.zeros(5, dtype)
        for number in range(12):
            grad = normal(number, 5, dtype=dtype) * np.asarray(10.0 ** (3 - number), dtype)
            weight, state = tg.optimizer_step(
                "adamw", weight, grad, state, backend=backend, amsgrad=True, betas=(0.5, 0.5)
            )
            moments = next(iter(state.values()))
            largest = np.maximum(largest, moments["exp_avg_sq"])
            np.testing.assert_array_equal(moments["max_exp_avg_sq"], largest, backend)
        assert np.all(largest > moments["exp_avg_sq"])


def test_optimizers_do_not_mind_strides(
    optimizer: OptimizerSpec, dtype: str, session: Session
) -> None:
    """Parameters that are views (pytorch#118115): the same bits as from contiguous ones."""
    settings = {"momentum": 0.9} if optimizer.name == "sgd" else {"amsgrad": True}
    weight, grads = normal(22, 4, 6, dtype=dtype), normal(23, 3, 4, 6, dtype=dtype)
    for backend in session.options.backends:
        plain: tuple[Any, Any] = (weight, None)
        for grad in grads:
            plain = tg.optimizer_step(
                optimizer.name, plain[0], grad, plain[1], backend=backend, **settings
            )
        for layout in LAYOUTS:
            new: tuple[Any, Any] = (layout(weight), None)
            for grad in grads:
                new = tg.optimizer_step(
                    optimizer.name,
                    layout(new[0]),
                    layout(grad),
                    new[1],
                    backend=backend,
                    **settings,
                )
            np.testing.assert_array_equal(new[0], plain[0], f"{backend} {layout.__name__}")


@pytest.mark.about("adamw")
@pytest.mark.parametrize("beta1", [0.0, 0.25, 0.5, 0.75])
def test_a_running_mean_of_whole_numbers_is_exact(
    beta1: float, dtype: str, session: Session
) -> None:
    """lerp changes its formula at 0.5 (measured): on either side the same mean, bit for bit."""
    grads = np.random.default_rng(24).integers(-64, 65, (6, 3)).astype(dtype)
    for backend in session.options.backends:
        weight, state, mean = np.zeros(3, dtype), None, np.zeros(3, dtype)
        for grad in grads:
            weight, state = tg.optimizer_step(
                "adamw", weight, grad, state, backend=backend, betas=(beta1, 0.5)
            )
            mean = beta1 * mean + (1 - beta1) * grad
            np.testing.assert_array_equal(next(iter(state.values()))["exp_avg"], mean, backend)


@pytest.mark.about("adamw")
def test_a_beta1_of_0_forgets_the_old_mean(dtype: str, session: Session) -> None:
    """lerp from the far end (measured): old + 1 * (new - old) would lose a small new gradient."""
    for backend in session.options.backends:
        weight, state = np.zeros(2, dtype), None
        for grad in (np.array([1e20, -1e20], dtype), np.array([1e-3, 0.1], dtype)):
            weight, state = tg.optimizer_step(
                "adamw", weight, grad, state, backend=backend, betas=(0.0, 0.9)
            )
            np.testing.assert_array_equal(next(iter(state.values()))["exp_avg"], grad, backend)
