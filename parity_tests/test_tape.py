"""The tape gives torch's gradients, forgets what it may, and refuses what it cannot do."""

from __future__ import annotations

import operator
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import twingrad as tg
from twingrad.core import registry
from twingrad.core.errors import BackendError, DTypeError, GradientError
from twingrad.core.spec import Array, LayerSpec
from twingrad.parity_tests.judge.strategies import cases

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)

WIDTH = 2  # of the last dimension of every leaf, and of the layer that programs share
SHAPES = ((WIDTH,), (1, WIDTH), (3, WIDTH), (2, 1, WIDTH))
MAX_DEGREE = 4  # of the polynomial that a program is; keeps whole numbers far below 2^53
MAX_ELEMENTS = 64  # of any tensor of a program
Step = Callable[[list[Any], Any], Any]  # from all tensors so far, and a layer, to one more

INDICES: tuple[Any, ...] = (
    0,
    slice(None, None, 2),
    (..., slice(0, 1)),
    (None, -1),
    np.array([0, 0, -1]),
    (..., np.array([-1, 0, -1, -1])),
    (np.array([0, -1]), np.array([0, 0])),
)


def leaf(values: Any, backend: str, dtype: str = "float64") -> Any:
    return tg.tensor(np.asarray(values, dtype), backend, requires_grad=True)


def values(tensor: Any) -> Array:
    assert tensor is not None
    return tg.to_numpy(tensor)


def whole_numbers(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    numbers = st.integers(-3, 3)
    size = int(np.prod(shape))
    return st.lists(numbers, min_size=size, max_size=size).map(
        lambda flat: np.array(flat, np.float64).reshape(shape)
    )


class Program:
    """A random program on whole numbers: its leaves, its steps, and the roots it ends in."""

    def __init__(self, data: st.DataObject) -> None:
        shapes = data.draw(
            st.lists(st.sampled_from(SHAPES), min_size=2, max_size=3), label="leaves"
        )
        self.leaves = [data.draw(whole_numbers(shape), label=f"leaf {shape}") for shape in shapes]
        self.weights = [
            data.draw(whole_numbers(s), label="layer") for s in ((WIDTH, WIDTH), (WIDTH,))
        ]
        self.steps: list[Step] = []
        # The program is run on NumPy while it is drawn, so that every step fits the shapes.
        tensors = [leaf(array, "numpy") for array in self.leaves]
        degrees, layer = [1] * len(tensors), self.layer("numpy")
        for _ in range(data.draw(st.integers(1, 8), label="steps")):
            step, degree = data.draw(steps(tensors, degrees), label="step")
            self.steps.append(step)
            tensors.append(step(tensors, layer))
            degrees.append(degree)
        numbers = st.integers(len(self.leaves), len(tensors) - 1)
        roots = data.draw(st.lists(numbers, min_size=1, max_size=3), label="roots")
        self.roots = [(number, data.draw(whole_numbers(tensors[number].shape))) for number in roots]

    def layer(self, backend: str) -> Any:
        layer = tg.build(tg.Linear(WIDTH, WIDTH), backend, dtype="float64")
        layer.load_state_dict(dict(zip(("weight", "bias"), self.weights, strict=True)))
        return layer

    def gradients(self, backend: str) -> list[Array | None]:
        """Run every step on one backend, then backward from every root in turn."""
        tensors, layer = [leaf(array, backend) for array in self.leaves], self.layer(backend)
        wanted = [*tensors, *layer.parameters()]
        for step in self.steps:
            tensors.append(step(tensors, layer))
        for number, upstream in self.roots:
            tensors[number].backward(tg.tensor(upstream, backend), retain_graph=True)
        return [None if x.grad is None else values(x.grad) for x in wanted]


@st.composite
def steps(draw: st.DrawFn, tensors: list[Any], degrees: list[int]) -> tuple[Step, int]:
    """Draw one step that fits the tensors so far, and the degree of its result."""
    i = draw(st.integers(0, len(tensors) - 1), label="of")
    j = draw(st.integers(0, len(tensors) - 1), label="and")
    x, y, degree = tensors[i], tensors[j], degrees[i]
    fits: list[tuple[Step, int]] = [
        (lambda t, _: 2 * t[i] - 1, degree),
        (lambda t, _: -t[i].reshape(-1), degree),
        (lambda t, _: t[i].permute(tuple(range(t[i].ndim))[::-1]), degree),
        (lambda t, _: tg.ReLU()(t[i]), degree),
        (lambda t, _: t[i].sum(), degree),
    ]
    if x.ndim:
        fits.append((lambda t, _: t[i].sum(-1, keepdim=True), degree))
        fits.append((lambda t, _: t[i].transpose(0, -1), degree))
        if x.numel() <= MAX_ELEMENTS // 2:
            fits.append((lambda t, _: tg.concat([t[i], t[i], t[i][:1]], axis=0), degree))
    for index in INDICES:
        if _works(partial(operator.getitem, np.empty(x.shape), index)):
            fits.append((partial(_indexed, i, index), degree))
    if x.shape[-1:] == (WIDTH,) and degree < MAX_DEGREE:
        fits.append((lambda t, layer: layer(t[i]), degree + 1))
    if _works(lambda: np.broadcast_shapes(x.shape, y.shape)):
        fits.append((lambda t, _: t[i] - t[j], max(degree, degrees[j])))
        if degree + degrees[j] <= MAX_DEGREE:
            fits.append((lambda t, _: t[i] * t[j], degree + degrees[j]))
    if x.ndim >= 2 and 2 * degree <= MAX_DEGREE and x.numel() <= MAX_ELEMENTS // 4:
        fits.append((lambda t, _: t[i] @ t[i].mT, 2 * degree))
    return draw(st.sampled_from(fits), label="step")


def _indexed(i: int, index: Any, tensors: list[Any], _: Any) -> Any:
    return tensors[i][index]


def _works(call: Callable[[], Any]) -> bool:
    try:
        return bool(np.size(call()) <= MAX_ELEMENTS)
    except (ValueError, IndexError):
        return False


@given(data=st.data())
def test_random_programs_have_torchs_gradients(data: st.DataObject) -> None:
    """On whole numbers nothing is rounded, so the gradients are equal bit for bit."""
    program = Program(data)
    for ours, theirs in zip(*map(program.gradients, BACKENDS), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs, strict=True)


class Inner(tg.Module):
    """Two outputs, and a layer that its parent uses as well."""

    def __init__(self, shared: tg.Module) -> None:
        super().__init__()
        self.shared, self.norm, self.attend = (
            shared,
            tg.LayerNorm(4),
            tg.MultiHeadAttention(4, 2, batch_first=True),
        )

    def forward(self, x: Any) -> tuple[Any, Any]:
        h = self.norm(x + self.shared(x))
        seen, weights = self.attend(h, h[:, :2], h[:, :2])
        return seen + h, weights


class Outer(tg.Module):
    """Nesting, reuse, residuals, slices, concatenation and broadcasting in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.gelu, self.softmax = tg.Linear(4, 4), tg.GELU(), tg.Softmax()
        self.inner = Inner(self.shared)

    def forward(self, x: Any) -> tuple[Any, Any]:
        h, weights = self.inner(self.gelu(self.shared(x)))
        joined = tg.concat([h[..., :2], x[..., 2:]], axis=-1)
        return self.softmax(self.shared(joined) * h[:, :1]), weights


def test_a_nested_model_has_torchs_gradients() -> None:
    """Within the roundings on the longest way, at u each, of the largest number on that way."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4))
    grads = []
    for backend in BACKENDS:
        model, tensor = tg.build(Outer(), backend, seed=1, dtype="float64"), leaf(x, backend)
        y, weights = model(tensor)
        ((y * y).sum() + (weights * weights).sum()).backward()
        grads.append([values(p.grad) for p in (tensor, *model.parameters())])
    roundings = 2 * 8 * 16  # forward and backward through 8 layers of at most 16 roundings
    largest = max(np.abs(grad).max() for grad in grads[1])
    for ours, theirs in zip(*grads, strict=True):
        assert np.abs(ours - theirs).max() <= roundings * np.finfo(float).eps * max(largest, 1)


@both_backends
def test_two_backward_calls_add_up(backend: str) -> None:
    x = leaf([1.0, 2.0, 3.0], backend)
    (x * x).sum().backward()
    (4 * x).sum().backward()
    np.testing.assert_array_equal(values(x.grad), [6.0, 8.0, 10.0])


@both_backends
@pytest.mark.parametrize("shape", [(), (2,)])
def test_a_leaf_that_is_used_twice_adds_up_over_two_calls(
    shape: tuple[int, ...], backend: str
) -> None:
    x = leaf(np.full(shape, 3.0), backend)
    for _ in range(2):
        (x * x + x).sum().backward()
    np.testing.assert_array_equal(values(x.grad), np.full(shape, 14.0), strict=True)


@both_backends
def test_retain_graph_lets_backward_go_twice(backend: str) -> None:
    x = leaf([1.0, 2.0], backend)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(values(x.grad), [4.0, 8.0])


@both_backends
def test_backward_twice_without_retain_graph_is_refused(backend: str) -> None:
    x = leaf([1.0, 2.0], backend)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(GradientError if backend == "numpy" else RuntimeError, match="retain_graph"):
        loss.backward()
    np.testing.assert_array_equal(values(x.grad), [2.0, 4.0])


@both_backends
def test_retain_grad_keeps_the_gradient_of_an_intermediate_result(backend: str) -> None:
    x = leaf([1.0, 2.0], backend)
    y = x * x
    y.retain_grad()
    (3 * y + y * y).sum().backward()
    np.testing.assert_array_equal(values(y.grad), [5.0, 11.0])
    np.testing.assert_array_equal(values(x.grad), [10.0, 44.0])


def test_retained_gradients_do_not_share_memory() -> None:
    x = leaf([1.0, 2.0], "numpy")
    y = x * x
    z = y + 1.0
    y.retain_grad()
    z.retain_grad()
    z.sum().backward()
    assert not np.shares_memory(y.grad.data, z.grad.data)


@both_backends
@given(data=st.data())
def test_a_gradient_does_not_depend_on_which_others_are_wanted(
    backend: str, spec: LayerSpec, data: st.DataObject
) -> None:
    """An input that wants none gets none; the others keep every bit, and the tape all it saved."""
    case = data.draw(cases(spec, "float64"))
    names = [name for name in case.inputs if spec.variadic or name in spec.differentiable]
    wanted = data.draw(st.sets(st.sampled_from(names), min_size=1), label="wanted")
    target = tg.load_backend(backend)
    _, expected = tg.vjp(spec.name, case.inputs, case.grad_y, backend, **case.settings)
    tensors = {
        name: target.tensor(array, requires_grad=name in wanted)
        for name, array in case.inputs.items()
    }
    y = target.apply(spec, tensors, case.settings)
    for retain_graph in (True, False):
        for tensor in tensors.values():
            tensor.grad = None
        y.backward(target.tensor(case.grad_y), retain_graph=retain_graph)
        for name, tensor in tensors.items():
            assert (tensor.grad is not None) == (name in wanted), name
            if name in wanted:
                np.testing.assert_array_equal(values(tensor.grad), expected[name], name)


def test_a_gradient_that_is_not_wanted_costs_nothing_and_one_that_is_does() -> None:
    x, weight = leaf([[1.0, 2.0]], "numpy"), leaf([[3.0, 4.0]], "numpy")
    for inputs, spared in (((x.detach(), weight), "weight"), ((x, weight.detach()), "x")):
        y = tg.load_backend("numpy").apply(
            tg.layer("linear"), dict(zip(("x", "weight"), inputs, strict=True)), {}
        )
        assert getattr(y._node.saved, spared) is None


@both_backends
def test_detach_cuts_the_tape(backend: str) -> None:
    x = leaf([1.0, 2.0], backend)
    y = (x * x).detach()
    assert not y.requires_grad
    (x * y).sum().backward()
    np.testing.assert_array_equal(values(x.grad), [1.0, 4.0])


@both_backends
def test_no_grad_records_nothing(backend: str) -> None:
    x = leaf([1.0], backend)

    @tg.no_grad()
    def inside() -> Any:
        return x * x

    with tg.no_grad():
        assert not (x * x).requires_grad
        with tg.no_grad():
            pass
        assert not (x * x).requires_grad
    assert not inside().requires_grad
    assert not inside().requires_grad
    assert (x * x).requires_grad


@both_backends
def test_no_grad_ends_with_an_exception(backend: str) -> None:
    x = leaf([1.0], backend)
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        _ = 1 / 0
    assert (x * x).requires_grad


@both_backends
@pytest.mark.parametrize("nested", [False, True])
def test_no_grad_holds_for_a_backend_loaded_inside(
    backend: str, nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a backend is loaded, it records nothing until the outermost context ends."""
    x = leaf([1.0], backend)
    monkeypatch.delitem(registry._loaded, backend)
    with tg.no_grad():
        if nested:
            with tg.no_grad():
                tg.load_backend(backend)
                assert not (x * x).requires_grad
        else:
            tg.load_backend(backend)
        assert not (x * x).requires_grad
    assert (x * x).requires_grad


def test_no_grad_in_one_thread_stays_there() -> None:
    inside, checked = threading.Event(), threading.Event()

    def other() -> None:
        with tg.no_grad():
            inside.set()
            checked.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    recorded = [(leaf([1.0], backend) * 2.0).requires_grad for backend in BACKENDS]
    checked.set()
    thread.join()
    assert recorded == [True, True]


def trained(backend: str, seed: int) -> list[Array]:
    model = tg.build(Outer(), backend, seed=seed, dtype="float64")
    opt = tg.AdamW(model.parameters(), lr=0.1)
    for _ in range(20):
        y, _ = model(np.random.default_rng(seed).uniform(-1, 1, (2, 3, 4)))
        opt.zero_grad()
        (y * y).sum().backward()
        opt.step()
    return [values(parameter) for parameter in model.parameters()]


@both_backends
def test_two_threads_train_two_models_at_once(backend: str) -> None:
    """Each gets the bits that it gets alone."""
    together: dict[int, list[Array]] = {}

    def train(seed: int) -> None:
        together[seed] = trained(backend, seed)

    threads = [threading.Thread(target=train, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        for ours, alone in zip(together[seed], trained(backend, seed), strict=True):
            np.testing.assert_array_equal(ours, alone)


def test_backward_frees_what_the_tape_saved() -> None:
    """The loss lives on, the arrays behind it are gone at once, without the garbage collector."""
    x = leaf(np.ones(8), "numpy")
    hidden = x.exp()
    saved = weakref.ref(hidden.data)
    loss = (hidden * hidden).sum()
    del hidden
    assert saved() is not None
    loss.backward()
    assert saved() is None
    assert float(loss) > 0


def test_a_training_loop_needs_no_more_memory_with_every_step() -> None:
    x = np.ones((100, 100))
    model = tg.build(tg.Sequential(tg.Linear(100, 100), tg.Tanh()), "numpy")
    kept, sizes = [], []
    tracemalloc.start()
    for _ in range(4):
        loss = model(x.astype("float32")).sum()
        loss.backward()
        kept.append(loss)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] - sizes[1] < x.size  # bytes: a quarter of one float32 array


@both_backends
def test_a_tensor_that_is_let_go_is_freed_without_backward(backend: str) -> None:
    x = leaf(np.ones(4), backend)
    y = x.exp()
    gone = weakref.ref(y)
    del y
    assert gone() is None


@both_backends
def test_a_chain_of_ten_thousand_operations_does_not_overflow_the_stack(backend: str) -> None:
    x = leaf([1.0], backend)
    y = x
    for _ in range(10_000):
        y = y * 1.0
    y.backward()
    del y
    y = x
    for _ in range(10_000):
        y = y * 1.0
    del y
    np.testing.assert_array_equal(values(x.grad), [1.0])


@both_backends
def test_backward_of_many_numbers_needs_a_gradient(backend: str) -> None:
    y = leaf([1.0, 2.0], backend) * 2.0
    with pytest.raises(GradientError if backend == "numpy" else RuntimeError):
        y.backward()


@both_backends
def test_backward_of_what_needs_no_gradient_is_refused(backend: str) -> None:
    x = tg.tensor(np.ones(1), backend)
    with pytest.raises(GradientError if backend == "numpy" else RuntimeError):
        (x * 2.0).backward()


@both_backends
def test_a_parameter_changed_before_backward_is_refused(backend: str) -> None:
    model = tg.build(tg.Sequential(tg.Linear(2, 2), tg.Tanh(), tg.Linear(2, 1)), backend)
    opt = tg.SGD(model.parameters(), lr=0.1)
    x = np.ones((3, 2), "float32")
    first, second = model(x).sum(), model(x).sum()
    first.backward()
    opt.step()
    with pytest.raises(GradientError if backend == "numpy" else RuntimeError, match=r"in ?place"):
        second.backward()


@both_backends
def test_an_array_that_its_owner_changes_later_does_not_matter(backend: str) -> None:
    x, target = np.ones((3, 2)), np.ones((3, 1))
    model = tg.build(tg.Linear(2, 1), backend, dtype="float64")
    model.load_state_dict({"weight": np.zeros((1, 2)), "bias": np.zeros(1)})
    loss = tg.BCEWithLogitsLoss(reduction="sum")(model(x), target)
    x[:], target[:] = np.nan, np.nan
    loss.backward()
    np.testing.assert_array_equal(values(model.weight.grad), [[-1.5, -1.5]])


def test_an_array_before_a_tensor_keeps_the_tape() -> None:
    """array + tensor is a tensor, not an array of tensors and not an array without gradient."""
    a = np.array([4.0, 9.0])
    made: list[Any] = [
        a + leaf(a, "numpy"),
        a * leaf(a, "numpy"),
        a - leaf(a, "numpy"),
        a / leaf(a, "numpy"),
    ]
    for y in made:
        assert y.__class__ is leaf(a, "numpy").__class__
        assert y.requires_grad
    x = leaf([2.0, 3.0], "numpy")
    (a @ x).backward()
    np.testing.assert_array_equal(values(x.grad), a)


@both_backends
@pytest.mark.parametrize("narrow", ["float16", "float32"])
def test_python_numbers_keep_the_dtype(backend: str, narrow: str) -> None:
    x = leaf([1.0, 2.0], backend, narrow)
    y = (1 + 2.5 * x - 1) / 3 + x**2 + 2**x
    y.sum().backward()
    assert values(y).dtype == values(x.grad).dtype == np.dtype(narrow)


def test_two_dtypes_do_not_mix() -> None:
    """Torch's own operators promote; the layers, which are twingrad's, refuse on both."""
    with pytest.raises(DTypeError, match="x is float64, so y must be float64; got float32"):
        leaf([1.0], "numpy") + leaf([1.0], "numpy", "float32")
    texts = set()
    for backend in BACKENDS:
        model = tg.build(tg.Linear(1, 1), backend, dtype="float64")
        with pytest.raises(DTypeError) as caught:
            model(np.ones((1, 1), "float32"))
        texts.add(str(caught.value))
    assert texts == {"linear: x is float32, so weight must be float32; got float64"}


def test_two_backends_do_not_mix() -> None:
    for one, other in (BACKENDS, BACKENDS[::-1]):
        with pytest.raises(BackendError):
            leaf([1.0], one) + leaf([1.0], other)
    with pytest.raises(BackendError):
        tg.concat([leaf([1.0], "numpy"), leaf([1.0], "torch")])
    for backend, other in (BACKENDS, BACKENDS[::-1]):
        model = tg.build(tg.Linear(1, 1), backend, dtype="float64")
        with pytest.raises(BackendError, match=f"x is a {other} tensor among {backend} tensors"):
            model(leaf([[1.0]], other))
        with pytest.raises(BackendError, match="target"):
            tg.BCEWithLogitsLoss()(leaf([[1.0]], backend), leaf([[1.0]], other).detach())


@both_backends
def test_lengths_may_be_given_in_any_of_torchs_ways(backend: str) -> None:
    """As numbers, as a tuple or a list, as NumPy's integers; and what has no length stays whole."""
    x = leaf(np.arange(6.0).reshape(2, 3), backend)
    six = np.int64(6)
    for y in (x.reshape(6), x.reshape((6,)), x.reshape([6]), x.reshape(six), x.reshape(-1)):
        np.testing.assert_array_equal(values(y), np.arange(6.0))
    for y in (x.flatten(), x[None].flatten(1)[0], x.reshape(3, 2).reshape(six)):
        np.testing.assert_array_equal(values(y), np.arange(6.0))
    assert [tuple(y.shape) for y in (x.T, x.mT, x.unsqueeze(-1), x.sum((0, 1)))] == [
        (3, 2),
        (3, 2),
        (2, 3, 1),
        (),
    ]
    assert values(x[x > 2.0]).tolist() == [3.0, 4.0, 5.0]
    assert [len(x), x.numel(), x.ndim, x.size(1)] == [2, 6, 2, 3]
    assert [values(row).tolist() for row in x] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
