"""What the seeds of this project had wrong, sixteen faults by number: the old value, and the new.

The first system that twingrad grew from is a small teaching framework of NumPy alone. Each test
computes what it did from its own formula, and shows that no backend does it here.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import twingrad as tg
from twingrad.core.errors import GradientError, SettingError
from twingrad.core.metrics import confusion
from twingrad.core.spec import Array

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
EPS = float(np.finfo(np.float64).eps)
PACKAGE = Path(tg.__file__).parent


def leaf(values: Any, backend: str) -> Any:
    return tg.tensor(np.asarray(values, np.float64), backend, requires_grad=True)


def check_close(got: Any, expected: Any, roundings: float) -> None:
    """Each element is within so many units of roundoff of what it should be."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert (np.abs(got - expected) <= roundings * EPS * np.abs(expected)).all(), (got, expected)


# B1: AdamW


def old_adamw(weight: float, grads: list[float], lr: float) -> float:
    """The old recurrence: a plain step first, and moments that lag one step behind."""
    m = v = 0.0
    for step, grad in enumerate(grads, 1):
        weight -= lr * grad
        weight -= lr * (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad * grad
    return weight


def right_adamw(weight: float, grads: list[float], lr: float, decay: float) -> float:
    m = v = 0.0
    for step, grad in enumerate(grads, 1):
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad * grad
        weight *= 1 - lr * decay
        weight -= lr * (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return weight


@both_backends
def test_b1_adamw_takes_adams_step_with_fresh_moments_and_decays(backend: str) -> None:
    """After one step from 1.0 with gradient 0.5 and lr 0.01: once 0.995, now 0.9899."""
    weight, state = np.array(1.0), None
    seen = []
    for grad in (0.5, -0.25, 2.0):
        weight, state = tg.optimizer_step(
            "adamw", weight, np.array(grad), state, backend, lr=0.01, weight_decay=0.01
        )
        seen.append(float(weight))
    assert old_adamw(1.0, [0.5], 0.01) == 0.995
    check_close(seen[0], 0.9899 + 0.01 * 1e-8 / (0.5 + 1e-8), roundings=8)
    for steps, value in enumerate(seen, 1):
        check_close(value, right_adamw(1.0, [0.5, -0.25, 2.0][:steps], 0.01, 0.01), roundings=64)


# B2 and B3: stable formulas


@both_backends
def test_b2_the_loss_of_a_large_logit_is_finite(backend: str) -> None:
    """At logit 40 and target 0 the log of 1 - sigmoid was -inf; at -800 exp overflowed."""
    assert 1 / (1 + math.exp(-40.0)) == 1.0  # so log(1 - p) was the log of 0
    with pytest.raises(OverflowError):
        math.exp(800.0)
    logits, targets = np.array([40.0, -800.0, 800.0]), np.array([0.0, 0.0, 1.0])
    losses, grads = tg.vjp(
        "bce_with_logits", {"x": logits, "target": targets}, np.ones(3), backend, reduction="none"
    )
    np.testing.assert_array_equal(losses, [40.0, 0.0, 0.0])
    np.testing.assert_array_equal(grads["x"], [1.0, 0.0, 0.0])


@both_backends
def test_b3_sigmoid_and_tanh_neither_overflow_nor_lose_digits(backend: str) -> None:
    """Sigmoid at -800 and tanh at -400 overflowed, and tanh at 1e-9 was wrong in digit 8."""
    with pytest.raises(OverflowError):
        math.exp(800.0)  # the e^-x of a sigmoid at -800, and the e^-2x of a tanh at -400
    old = (1 - math.exp(-2e-9)) / (1 + math.exp(-2e-9))
    assert abs(old - 1e-9) / 1e-9 > 2.6e-8
    sigmoid = tg.forward("sigmoid", {"x": np.array([-800.0, 800.0])}, backend)
    tanh = tg.forward("tanh", {"x": np.array([-400.0, 400.0, 1e-9])}, backend)
    np.testing.assert_array_equal(sigmoid, [0.0, 1.0])
    np.testing.assert_array_equal(tanh[:2], [-1.0, 1.0])
    check_close(tanh[2], math.tanh(1e-9), roundings=2)


# B4 to B10: gradients


@both_backends
def test_b4_zero_grad_is_a_method_that_is_there(backend: str) -> None:
    """It was a property of another name: the call failed, and a forgotten one said nothing."""
    model = tg.build(tg.Linear(2, 1), backend)
    opt = tg.SGD(model.parameters())
    for zero in (opt.zero_grad, model.zero_grad):
        model(np.ones((1, 2), "float32")).sum().backward()
        assert model.weight.grad is not None
        zero()
        assert model.weight.grad is None
    model(np.ones((1, 2), "float32")).sum().backward()
    opt.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(tg.to_numpy(model.weight.grad), np.zeros((1, 2)))
    assert not hasattr(opt, "zero_grad_")


@both_backends
def test_b5_the_gradient_follows_the_reduction(backend: str) -> None:
    """It was (sigmoid - y) / rows for all three; with 3 outputs, 3 times the mean's gradient."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(4, 3)), rng.integers(0, 2, (4, 3)).astype(float)
    difference = 1 / (1 + np.exp(-x)) - target
    grads = {}
    for reduction in ("mean", "sum", "none"):
        logits = leaf(x, backend)
        loss = tg.BCEWithLogitsLoss(reduction=reduction)(logits, target)
        if reduction == "none":
            # It has an upstream gradient for each element, and cannot go back without one.
            with pytest.raises(GradientError if backend == "numpy" else RuntimeError):
                loss.backward()
            loss.backward(tg.tensor(np.full((4, 3), 2.0), backend))
        else:
            loss.backward()
        grads[reduction] = tg.to_numpy(logits.grad)
    old = difference / len(x)
    check_close(grads["mean"], old / 3, roundings=16)
    check_close(grads["sum"], difference, roundings=16)
    check_close(grads["none"], 2 * difference, roundings=16)
    # The figures on record: a sum of -2.1543 where it should have been -0.7181.
    assert round(-2.1543 / 3, 4) == -0.7181


@both_backends
def test_b6_a_slice_and_a_reshape_carry_gradients(backend: str) -> None:
    """The gradient of a slice was its data: [1, 2] where 7 came in and [7, 7] should come out."""
    data = np.array([1.0, 2.0, 3.0, 4.0])
    x = leaf(data, backend)
    (7 * x[:2]).sum().backward()
    assert data[:2].tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(tg.to_numpy(x.grad), [7.0, 7.0, 0.0, 0.0])
    (7 * x.reshape(2, 2)[1]).sum().backward()
    np.testing.assert_array_equal(tg.to_numpy(x.grad), [7.0, 7.0, 7.0, 7.0])


class OutOfOrder(tg.Module):
    """Its layers stand in another order than they run in."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = tg.Linear(2, 1, bias=False), tg.Linear(3, 2, bias=False)

    def forward(self, x: Any) -> Any:
        return self.last(self.first(x))


@both_backends
def test_b7_gradients_follow_the_order_of_execution(backend: str) -> None:
    """Backward went in reverse order of definition: here (2, 3) @ (1, 2), a shape error."""
    first, last = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([[7.0, 8.0]])
    with pytest.raises(ValueError, match="matmul"):
        _ = np.ones((1, 1)) @ first @ last
    model = tg.build(OutOfOrder(), backend, dtype="float64")
    model.load_state_dict({"last.weight": last, "first.weight": first})
    x = leaf([[1.0, 0.0, -1.0]], backend)
    model(x).sum().backward()
    np.testing.assert_array_equal(tg.to_numpy(x.grad), last @ first)
    np.testing.assert_array_equal(tg.to_numpy(model.first.weight.grad), last.T @ [[1.0, 0.0, -1.0]])


@both_backends
def test_b8_a_layer_that_is_used_twice_has_both_gradients(backend: str) -> None:
    """Only the last input was kept: for y = w (w x) the gradient w x + w x became 2 w (w x)."""
    model = tg.build(tg.Linear(1, 1, bias=False), backend, dtype="float64")
    model.load_state_dict({"weight": np.array([[3.0]])})
    x = np.array([[5.0]])
    model(model(x)).sum().backward()
    old, right = 3 * 15.0 + 1 * 15.0, 1 * 15.0 + 3 * 5.0
    assert old / right == 2.0
    np.testing.assert_array_equal(tg.to_numpy(model.weight.grad), [[right]])


class Wider(tg.Linear):
    """A subclass of a layer, which the old optimizer passed over."""


class Nested(tg.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = tg.Sequential(tg.Sequential(tg.Linear(2, 2)), Wider(2, 1))

    def forward(self, x: Any) -> Any:
        return self.inner(x)


@both_backends
def test_b9_nested_parameters_move_and_are_shown(backend: str) -> None:
    """They never moved (the largest change was 0.0), and neither did those of a subclass."""
    model = tg.build(Nested(), backend)
    before = {name: tg.to_numpy(value) for name, value in model.state_dict().items()}
    old = [name for name, part in model.named_children() if type(part) is tg.Linear]
    assert old == []  # all that the old optimizer would have looked at
    opt = tg.AdamW(model.parameters(), lr=0.1)
    model(np.ones((1, 2), "float32")).sum().backward()
    opt.step()
    assert len(before) == 4
    for name, value in model.state_dict().items():
        assert (tg.to_numpy(value) != before[name]).all(), name
    assert "(0): Linear(2, 2" in repr(model)
    assert "(1): Wider(2, 1" in repr(model)


@both_backends
def test_b10_every_operation_is_on_the_tape(backend: str) -> None:
    """What neg, .T and sqrt gave had no gradient at all."""
    x = leaf([[1.0, 4.0]], backend)
    for y in (-x, x.T, x.sqrt()):
        assert y.requires_grad
    ((-x).sum() + (x.T * leaf([[2.0], [3.0]], backend)).sum() + x.sqrt().sum()).backward()
    np.testing.assert_array_equal(tg.to_numpy(x.grad), [[-1 + 2 + 0.5, -1 + 3 + 0.25]])


@both_backends
def test_b11_a_tensor_holds_what_it_was_given(backend: str) -> None:
    """A number raised TypeError, and a tuple was taken for the shape of random numbers."""
    number, pair = tg.tensor(3.0, backend), tg.tensor((2.0, 3.0), backend)
    assert float(number) == 3.0
    assert tuple(number.shape) == ()
    np.testing.assert_array_equal(tg.to_numpy(pair), [2.0, 3.0])


# B12 to B15: data and measures


def test_b12_every_loop_over_a_loader_starts_afresh() -> None:
    """After a break the next loop had 2 batches of 3 left; an empty set failed; two fields only."""
    loader = tg.DataLoader((np.arange(5), np.arange(5), np.arange(5)), batch_size=2)
    for _ in loader:
        break
    assert [len(fields) for fields in loader] == [3, 3, 3]
    assert [fields[0].tolist() for fields in loader] == [[0, 1], [2, 3], [4]]
    assert [*tg.DataLoader((np.empty((0, 2)),), batch_size=2)] == []
    one, other = iter(loader), iter(loader)
    next(one)
    assert next(other)[0].tolist() == [0, 1]
    shuffled = tg.DataLoader((np.arange(50),), batch_size=50, shuffle=True, seed=1)
    orders = [next(iter(shuffled))[0].tolist() for _ in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))


LOGITS = np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0])  # four called positive, two negative
TRUE = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])  # one of the four is, one of the two too


def test_b13_a_false_positive_is_not_a_false_negative() -> None:
    """They were swapped, and so were precision (1/4) and recall (1/2)."""
    counts = confusion(LOGITS, TRUE)
    assert (counts.true_positive, counts.false_positive) == (1, 3)
    assert (counts.true_negative, counts.false_negative) == (1, 1)
    old_precision, old_recall = 1 / (1 + 1), 1 / (1 + 3)
    assert (counts.precision, counts.recall) == (old_recall, old_precision) == (0.25, 0.5)


def test_b14_measures_are_exact_and_nothing_of_nothing_is_not_a_number() -> None:
    """79 of 84 was (79 + .001) / (84 + .001) = 0.94047690, and 0 of 0 was a perfect 1.0."""
    logits = np.repeat([1.0, 1.0, -1.0, -1.0], [79, 5, 86, 5])
    counts = confusion(logits, np.repeat([1.0, 0.0, 0.0, 1.0], [79, 5, 86, 5]))
    assert (79 + 0.001) / (84 + 0.001) == 0.9404768990845347
    assert counts.precision == counts.recall == 79 / 84
    assert counts.accuracy == 165 / 175
    nothing = confusion(np.array([-1.0]), np.array([0.0]))
    assert (0 + 0.001) / (0 + 0.001) == 1.0
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.recall)
    assert nothing.accuracy == 1.0


def test_b15_every_file_that_is_opened_is_closed() -> None:
    """A file was opened and never closed; here each open() stands in a with statement."""
    folders = ("core", "models", "backends", "benchmarks")
    sources = [path for folder in folders for path in (PACKAGE / folder).rglob("*.py")]
    assert len(sources) > 40
    for path in sources:
        tree = ast.parse(path.read_text())
        closed = {
            id(item.context_expr)
            for node in ast.walk(tree)
            if isinstance(node, ast.With)
            for item in node.items
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("open", "os.fdopen"):
                assert id(node) in closed, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("path.open"):
                assert id(node) in closed, f"{path}:{node.lineno}"


# B16: what was missing


@both_backends
def test_b16_parameters_may_stand_in_groups_with_their_own_settings(backend: str) -> None:
    """Torch's own optimizer, given the same groups, ends at the same numbers."""
    model = tg.build(tg.Linear(2, 2), backend, dtype="float64")
    plain = torch.nn.Linear(2, 2, dtype=torch.float64)
    plain.load_state_dict(tg.convert(model, "torch").state_dict())
    for network, kind in ((model, tg.AdamW), (plain, torch.optim.AdamW)):
        groups = [
            {"params": [network.weight], "weight_decay": 0.5},
            {"params": [network.bias], "lr": 0.25},
        ]
        opt: Any = kind(groups, lr=0.125)
        assert [group["lr"] for group in opt.param_groups] == [0.125, 0.25]
        for _ in range(3):
            opt.zero_grad()
            one = np.ones((1, 2))
            network(one if network is model else torch.from_numpy(one)).sum().backward()
            opt.step()
    for name, value in plain.state_dict().items():
        check_close(tg.to_numpy(model.state_dict()[name]), value.numpy(), roundings=64)


@both_backends
@pytest.mark.parametrize("max_norm", [0.5, 5.0, 1e9])
def test_b16_gradients_can_be_clipped_as_torch_does(backend: str, max_norm: float) -> None:
    grads = {"weight": np.array([[3.0, -4.0], [0.5, 2.0]]), "bias": np.array([12.0, -1.0])}
    model = tg.build(tg.Linear(2, 2), backend, dtype="float64")
    plain = torch.nn.Linear(2, 2, dtype=torch.float64)
    for name, grad in grads.items():
        getattr(model, name).grad = tg.tensor(grad, backend)
        getattr(plain, name).grad = torch.from_numpy(grad.copy())
    norm = tg.clip_grad_norm_(model.parameters(), max_norm)
    check_close(norm, torch.nn.utils.clip_grad_norm_(plain.parameters(), max_norm), roundings=8)
    for name in grads:
        ours, theirs = getattr(model, name).grad, getattr(plain, name).grad
        check_close(tg.to_numpy(ours), theirs.numpy(), roundings=16)
    with pytest.raises(SettingError, match="max_norm must be a number > 0"):
        tg.clip_grad_norm_(model.parameters(), 0.0)


@both_backends
def test_b16_state_can_be_saved_and_loaded(backend: str, tmp_path: Path) -> None:
    model = tg.build(tg.Linear(2, 2), backend)
    tg.save_checkpoint(tmp_path / "c", model=model)
    other = tg.build(tg.Linear(2, 2), backend, seed=1)
    tg.load_checkpoint(tmp_path / "c", model=other)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(
            tg.to_numpy(other.state_dict()[name]), tg.to_numpy(value), strict=True
        )


@both_backends
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_b16_the_dtype_is_the_users(backend: str, kind: str) -> None:
    """Everything was float64; here parameters, outputs, gradients and state have one dtype."""
    model = tg.build(tg.Sequential(tg.Linear(2, 2), tg.Tanh()), backend, dtype=kind)
    opt = tg.SGD(model.parameters(), lr=0.1, momentum=0.9)
    y = model(np.ones((3, 2), kind))
    y.sum().backward()
    opt.step()
    state = [x for entries in opt.state_dict()["state"].values() for x in entries.values()]
    arrays = [y, *model.parameters(), *(p.grad for p in model.parameters())]
    arrays += [x for x in state if not isinstance(x, int)]
    assert {tg.to_numpy(array).dtype for array in arrays} == {np.dtype(kind)}


@both_backends
def test_b16_random_numbers_belong_to_a_seed_and_a_name(backend: str) -> None:
    """There was one global generator; now it is neither read nor moved."""

    def drawn() -> list[Array]:
        model = tg.build(tg.Sequential(tg.Linear(2, 8), tg.Dropout(0.5)), backend, seed=7)
        loader = tg.DataLoader((np.arange(9),), shuffle=True, seed=7)
        arrays = [tg.to_numpy(model(np.ones((4, 2), "float32")))]
        return [*arrays, np.concatenate([batch for (batch,) in loader])]

    np.random.seed(1)  # noqa: NPY002 - it is the global generator that is watched
    torch.manual_seed(1)
    first = drawn()
    after_draws = np.random.random(), float(torch.rand(()))  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert (np.random.random(), float(torch.rand(()))) == after_draws  # noqa: NPY002
    for ours, again in zip(first, drawn(), strict=True):
        np.testing.assert_array_equal(ours, again)
