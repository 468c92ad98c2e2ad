"""Both backends refuse the same calls, with the same type of error and the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.arguments import number_of_places
from twingrad.core.errors import (
    DataError,
    DTypeError,
    SettingError,
    ShapeError,
    TwingradError,
    UnknownNameError,
)
from twingrad.core.spec import Arrays, LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import input_dtype

LENGTHS = {"...": (2,)}  # of named dimensions: 3, 4, 5 in the order of their appearance


def refusal(call: Callable[[str], Any], expected: type[TwingradError], session: Session) -> str:
    """Return the message with which every backend refuses `call`."""
    messages = []
    for name in session.options.backends:
        with pytest.raises(expected) as caught:
            call(name)
        assert type(caught.value) is expected
        messages.append(str(caught.value))
    assert len(set(messages)) == 1, messages
    assert "\n" not in messages[0]
    return messages[0]


def fitting_inputs(spec: LayerSpec) -> Arrays:
    """Return inputs of ones that fit the spec, every optional one given."""
    lengths = dict(LENGTHS)
    for text in spec.inputs.values():
        for dim in text.split():
            lengths.setdefault(dim, (2 + len(lengths),))
    shapes = {
        name: tuple(length for dim in text.split() for length in lengths[dim])
        for name, text in spec.inputs.items()
    }
    return {
        name: np.ones(shape, input_dtype(spec, name, "float32")) for name, shape in shapes.items()
    }


def call(spec: LayerSpec, inputs: dict[str, Any], **settings: Any) -> Callable[[str], Any]:
    return lambda backend: tg.forward(spec.name, inputs, backend=backend, **settings)


def test_the_fitting_call_is_accepted(layer: LayerSpec, session: Session) -> None:
    for name in session.options.backends:
        call(layer, fitting_inputs(layer))(name)


def test_a_wrong_shape_is_refused(layer: LayerSpec, session: Session) -> None:
    """One more element along the last axis of every input that shares that axis with another."""
    inputs = fitting_inputs(layer)
    last = {name: text.split()[-1] for name, text in layer.inputs.items()}
    shared = " ".join(layer.inputs.values()).split()
    for name in (name for name in inputs if shared.count(last[name]) > 1):
        grown = np.concatenate([inputs[name], inputs[name][..., -1:]], axis=-1)
        message = refusal(call(layer, inputs | {name: grown}), ShapeError, session)
        assert message.startswith(f"{layer.name}: ")
        assert "must" in message
        assert "got" in message


def test_too_few_dimensions_are_refused(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    for name, text in layer.inputs.items():
        if name not in layer.broadcast and text != "...":
            message = refusal(
                call(layer, inputs | {name: inputs[name].reshape(-1)[0]}), ShapeError, session
            )
            assert f"got {name} of shape ()" in message


def test_integers_are_refused(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    for name in inputs.keys() - layer.indices.keys():
        message = refusal(
            call(layer, inputs | {name: inputs[name].astype(np.int64)}), DTypeError, session
        )
        assert name in message
        assert "int64" in message


def test_mixed_dtypes_are_refused(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    floating = [name for name, x in inputs.items() if x.dtype == np.float32]
    for name in floating[1:]:
        message = refusal(
            call(layer, inputs | {name: inputs[name].astype(np.float64)}), DTypeError, session
        )
        assert "float32" in message
        assert "float64" in message


def test_what_is_no_integer_is_no_index(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    for name in layer.indices:
        for dtype in ("float32", "bool"):
            wrong = inputs | {name: inputs[name].astype(dtype)}
            message = refusal(call(layer, wrong), DTypeError, session)
            assert message == f"{layer.name}: {name} must be integers; got {dtype}"


def test_an_index_out_of_range_is_named_with_its_place(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    for name in layer.indices:
        length = number_of_places(layer, name, {key: x.shape for key, x in inputs.items()})
        for wrong in (length, -1, 2**40):
            ids = inputs[name].copy()
            place = tuple(n - 1 for n in ids.shape)
            ids[place] = wrong
            message = refusal(call(layer, inputs | {name: ids}), DataError, session)
            assert f"is {length}, so {name} must be in 0...{length - 1}" in message
            assert f"got {wrong} at index ({', '.join(map(str, place))})" in message


@pytest.mark.about("embedding")
def test_a_padding_index_must_be_a_place(session: Session) -> None:
    embedding = tg.layer("embedding")
    wrong = call(embedding, fitting_inputs(embedding), padding_idx=100)
    assert refusal(wrong, SettingError, session).endswith("got 100")
    for value in (-1, 1.0, "0", True):
        call_of = call(embedding, fitting_inputs(embedding), padding_idx=value)
        message = refusal(call_of, SettingError, session)
        assert message == (
            f"embedding: padding_idx must be an integer in 0...n - 1, or None; got {value!r}"
        )


def test_complex_numbers_are_refused(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    refusal(call(layer, inputs | {name: x + 1j for name, x in inputs.items()}), DTypeError, session)


def test_a_missing_input_is_named(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    for name in layer.inputs:
        if name not in layer.optional:
            rest = {key: value for key, value in inputs.items() if key != name}
            assert f"input {name} is missing" in refusal(call(layer, rest), ShapeError, session)


def test_an_unknown_input_is_named(layer: LayerSpec, session: Session) -> None:
    inputs = {**fitting_inputs(layer), "wieght": np.ones(3)}
    assert "wieght" in refusal(call(layer, inputs), UnknownNameError, session)


def test_an_unknown_setting_is_named(layer: LayerSpec, session: Session) -> None:
    message = refusal(call(layer, fitting_inputs(layer), epsilon=1), SettingError, session)
    assert "'epsilon'" in message


def test_a_setting_out_of_range_is_refused(layer: LayerSpec, session: Session) -> None:
    for name, setting in layer.settings.items():
        for value in ("nonsense", -1, float("nan"), [1]):
            if not setting.accepts(value):
                message = refusal(
                    call(layer, fitting_inputs(layer), **{name: value}), SettingError, session
                )
                assert f"{name} must be" in message
                assert repr(value) in message


def test_a_wrong_upstream_gradient_is_refused(layer: LayerSpec, session: Session) -> None:
    inputs = fitting_inputs(layer)
    y = tg.forward(layer.name, inputs)
    for wrong, error in (
        (np.ones((7, 7), y.dtype), ShapeError),
        (y.astype(np.float64), DTypeError),
    ):

        def vjp(backend: str, grad_y: Any = wrong) -> Any:
            return tg.vjp(layer.name, inputs, grad_y, backend=backend)

        assert "grad_y" in refusal(vjp, error, session)


def test_an_unknown_layer_is_named(session: Session) -> None:
    message = refusal(
        lambda name: tg.forward("layernorm", {}, backend=name), UnknownNameError, session
    )
    assert "'layernorm'" in message
    assert "layer_norm" in message


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown backend 'tensorflow'"):
        tg.forward("tanh", {"x": np.ones(3)}, backend="tensorflow")


def test_a_label_that_is_nan_is_refused(session: Session) -> None:
    inputs = {"x": np.zeros((2, 2)), "target": np.array([[0, 1], [np.nan, 1]])}
    message = refusal(
        lambda name: tg.forward("bce_with_logits", inputs, backend=name), DataError, session
    )
    assert message == "bce_with_logits: target must not be NaN; got NaN at index (1, 0)"


def test_the_message_says_what_was_expected_and_what_came(session: Session) -> None:
    inputs = {"x": np.ones((2, 5)), "weight": np.ones((4, 3))}
    message = refusal(lambda name: tg.forward("linear", inputs, backend=name), ShapeError, session)
    assert message == (
        "linear: weight is (out, in) = (4, 3), so x must be (..., 3); got x of shape (2, 5)"
    )


def wrong_operations() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    x = np.ones((2, 3))
    yield "add", {"x": x, "y": np.ones(4)}, {}
    yield "matmul", {"x": x, "y": np.ones((2, 3))}, {}
    yield "reshape", {"x": x}, {"shape": (4,)}
    yield "sum", {"x": x}, {"axis": 2}
    yield "mean", {"x": x}, {"axis": (0, 5)}
    yield "transpose", {"x": x}, {"axes": (0, 0)}
    yield "getitem", {"x": x}, {"index": 7}
    yield "concat", {"x0": x, "x1": np.ones((2, 2, 2))}, {"axis": 0}


@pytest.mark.parametrize(("name", "inputs", "settings"), list(wrong_operations()))
def test_an_operation_that_does_not_fit_is_refused(
    name: str, inputs: dict[str, Any], settings: dict[str, Any], session: Session
) -> None:
    message = refusal(
        lambda b: tg.forward(name, inputs, backend=b, **settings), ShapeError, session
    )
    assert message.startswith(f"{name}: ")
    assert "do not fit" in message


def test_optimizers_refuse_settings_out_of_range(
    optimizer: OptimizerSpec, session: Session
) -> None:
    for name, setting in optimizer.settings.items():
        for value in ("nonsense", -1.0, float("nan"), (2.0, 2.0)):
            if not setting.accepts(value):

                def step(backend: str, wrong: dict[str, Any] = {name: value}) -> Any:  # noqa: B006
                    x = np.ones(3)
                    return tg.optimizer_step(optimizer.name, x, x, backend=backend, **wrong)

                assert f"{name} must be" in refusal(step, SettingError, session)


def test_optimizers_refuse_gradients_that_do_not_fit(
    optimizer: OptimizerSpec, session: Session
) -> None:
    x = np.ones(3)
    for grad, error in ((np.ones(4), ShapeError), (np.ones(3, np.float32), DTypeError)):

        def step(backend: str, wrong: Any = grad) -> Any:
            return tg.optimizer_step(optimizer.name, {"w": x}, {"w": wrong}, backend=backend)

        assert "parameter w" in refusal(step, error, session)
