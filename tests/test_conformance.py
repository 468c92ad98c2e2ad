"""A backend of another package: how it is found, and what its author is told when it is wrong."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import twingrad as tg
from twingrad.core import registry
from twingrad.core.errors import BackendError, DataError, TwingradError, UnknownNameError
from twingrad.core.foreign import ForeignBackend, supports
from twingrad.core.registry import load_backend, owner
from twingrad.core.spec import Arrays, LayerSpec, Settings
from twingrad.parity_tests.judge.checks import (
    Disagreement,
    check_forward,
    check_gradient,
    gradients,
)
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import cases

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
WRONG = ROOT / "examples" / "wrong_backend" / "twingrad_wrong.py"
MEND = ": mend it, or return False from supports"

X = np.array([[0.5, -1.0], [2.0, 0.0]], np.float32)
LINEAR = {"x": X, "weight": np.ones((3, 2), np.float32), "bias": np.zeros(3, np.float32)}
Register = Callable[..., None]
Bring = Callable[..., None]


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Install a package of one module with an entry point, as pip would; it is called pack0."""
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    numbers, modules = count(), set(sys.modules)

    def install(source: str = EXAMPLE, name: str = "mine", attribute: str = "") -> None:
        number = next(numbers)
        (tmp_path / f"module{number}_of_a_test.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"pack{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pack{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[twingrad.backends]\n{name} = module{number}_of_a_test{attribute}\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        registry.registered.cache_clear()

    yield install
    registry.registered.cache_clear()
    for module in set(sys.modules) - modules:
        if module.endswith("_of_a_test"):
            del sys.modules[module]


def forward(spec: LayerSpec, inputs: Arrays, settings: Settings) -> Any:
    return load_backend("numpy").forward(spec, inputs, settings)


def vjp(spec: LayerSpec, inputs: Arrays, grad_y: Any, settings: Settings) -> Any:
    return load_backend("numpy").vjp(spec, inputs, grad_y, settings)


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Load NumPy's layers as the backend 'mine', with some methods replaced or added."""

    def load(**methods: Any) -> None:
        inner = SimpleNamespace(**({"forward": forward, "vjp": vjp} | methods))
        monkeypatch.setitem(registry._loaded, "mine", ForeignBackend("mine", inner))

    return load


def refusal(call: Callable[[], Any]) -> str:
    """Return the one line with which `call` is refused."""
    with pytest.raises(BackendError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# How one is found


def test_a_registered_backend_is_listed_and_runs(register: Register) -> None:
    register()
    assert list(tg.backends())[:2] == ["numpy", "torch"]
    assert tg.backends()["mine"] == "available"
    assert tg.load_backend("mine").name == "mine"
    assert tg.load_backend("mine") is tg.load_backend("mine")
    np.testing.assert_array_equal(tg.forward("tanh", {"x": X}, backend="mine"), np.tanh(X))
    y, grads = tg.vjp("tanh", {"x": X}, X, backend="mine")
    np.testing.assert_array_equal(grads["x"], X * (1 - y * y))


def test_an_instance_is_a_backend_as_a_module_is(register: Register) -> None:
    source = """
class Doubling:
    name = "mine"
    def forward(self, spec, inputs, settings):
        return inputs["x"] * 2
    def vjp(self, spec, inputs, grad_y, settings):
        y = inputs["x"] * 2
        return y, {"x": grad_y(y) * 2}
backend = Doubling()
"""
    register(source, attribute=":backend")
    y, grads = tg.vjp("relu", {"x": X}, X, backend="mine")
    np.testing.assert_array_equal(y, 2 * X)
    np.testing.assert_array_equal(grads["x"], 2 * X)


def test_numpy_and_torch_come_without_checks_around_them() -> None:
    for name in ("numpy", "torch"):
        assert not isinstance(load_backend(name), ForeignBackend)


def test_numpy_is_loaded_without_a_look_at_what_is_installed() -> None:
    program = "import sys, twingrad as tg; tg.load_backend('numpy'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "twingrad.core.registry" in done.stdout.split()
    assert "importlib.metadata" not in done.stdout.split()


def test_entry_points_are_read_once(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    read, groups = importlib.metadata.entry_points, []

    def entry_points(*, group: str) -> Any:
        groups.append(group)
        return read(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    for _ in range(3):
        tg.backends()
        tg.load_backend("mine")
    assert groups == ["twingrad.backends"]


def test_an_unknown_name_is_answered_with_all_names(register: Register) -> None:
    register()
    with pytest.raises(UnknownNameError, match=r"unknown backend 'yours': .*'mine', 'numpy'"):
        tg.load_backend("yours")


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_twingrads_own_backends_cannot_be_replaced(name: str, register: Register) -> None:
    before = load_backend(name)
    register(name=name)
    for call in (tg.backends, lambda: tg.load_backend("mine")):
        assert refusal(call) == (
            f"backend {name!r} is twingrad's own and cannot be replaced: pack0 must register "
            f"module0_of_a_test under another name"
        )
    assert load_backend(name) is before


def test_two_packages_cannot_share_a_name(register: Register) -> None:
    register()
    register()
    message = refusal(tg.backends)
    assert message.startswith("backend 'mine' is registered twice, by pack")
    assert {"pack0", "pack1"} <= set(re.findall(r"pack\d", message))


@pytest.mark.parametrize(
    ("source", "attribute", "says"),
    [
        ("import no_such_library", "", "cannot be imported: ModuleNotFoundError: No module"),
        ("def f(:", "", "cannot be imported: SyntaxError: "),
        ("raise OSError('no\\ndevice')", "", "cannot be imported: OSError: no device"),
        ("", ":backend", "cannot be imported: AttributeError: "),
        ("class Mine: pass", ":Mine", "is a class; the entry point must name an instance of it"),
        ("name, forward = 'mine', print", "", "methods forward and vjp; it has no vjp"),
        ("name, forward, vjp = 'm', print, print", "", "the name 'mine'; its `name` is str 'm'"),
        ("forward = vjp = print", "", "must have the name 'mine'; its `name` is NoneType None"),
    ],
)
def test_what_cannot_be_loaded_says_why(
    source: str, attribute: str, says: str, register: Register
) -> None:
    register(source, attribute=attribute)
    message = refusal(lambda: tg.load_backend("mine"))
    assert message.startswith(f"backend 'mine': module0_of_a_test{attribute} (of pack0) ")
    assert says in message
    assert tg.backends()["mine"] == message.removeprefix("backend 'mine': ")
    assert tg.backends()["numpy"] == "available"


# What its author is told


@pytest.mark.parametrize(
    ("compute", "says"),
    [
        (lambda x: None, "return y as an array of shape (2, 2) and dtype float32; got NoneType"),
        (lambda x: x[0], "got shape (2,)"),
        (lambda x: x.astype(np.float64), "got dtype float64"),
        (lambda x: [[1, 2], [3]], "got list [[1, 2], [3]] (ValueError: "),
        (lambda x: 1 / 0, "return without an error; got ZeroDivisionError: division by zero"),
        (lambda x: x.no_such, "return without an error; got AttributeError: 'numpy.ndarray'"),
    ],
)
def test_a_wrong_output_is_explained(compute: Any, says: str, bring: Bring) -> None:
    bring(forward=lambda spec, inputs, settings: compute(inputs["x"]))
    message = refusal(lambda: tg.forward("tanh", {"x": X}, backend="mine"))
    assert message.startswith("backend 'mine': forward of tanh must return ")
    assert says in message
    assert message.endswith(f"{MEND}('tanh', 'float32')")


@pytest.mark.parametrize(
    ("compute", "says"),
    [
        (lambda y, g: y, "return (y, {input: gradient}); got ndarray array("),
        (lambda y, g: (y, [g]), "return (y, {input: gradient}); got tuple "),
        (lambda y, g: (y, {}), "return a gradient for each of x; got none for x"),
        (lambda y, g: (y, {"x": g, "w": g}), "a gradient for each of x; got one for 'w', too"),
        (lambda y, g: (y, {"x": None}), "return grad_x as an array of shape (2, 2) and dtype flo"),
        (lambda y, g: (y, {"x": g.sum()}), "got shape ()"),
        (lambda y, g: (y, {"x": g.astype(np.float64)}), "got dtype float64"),
        (lambda y, g: (y[0], {"x": g}), "return y as an array of shape (2, 2)"),
        (lambda y, g: (y, {"x": g @ np.ones(3)}), "return without an error; got ValueError: "),
    ],
)
def test_a_wrong_gradient_is_explained(compute: Any, says: str, bring: Bring) -> None:
    bring(vjp=lambda spec, inputs, grad_y, settings: compute(inputs["x"], grad_y(inputs["x"])))
    message = refusal(lambda: tg.vjp("tanh", {"x": X}, X, backend="mine"))
    assert message.startswith("backend 'mine': vjp of tanh must return ")
    assert says in message
    assert message.endswith(f"{MEND}('tanh', 'float32')")


def test_every_input_needs_its_gradient(bring: Bring) -> None:
    def forgetful(*arguments: Any) -> Any:
        y, grads = vjp(*arguments)
        return y, {name: grad for name, grad in grads.items() if name != "bias"}

    bring(vjp=forgetful)
    grad_y = np.ones((2, 3), np.float32)
    assert refusal(lambda: tg.vjp("linear", LINEAR, grad_y, backend="mine")) == (
        "backend 'mine': vjp of linear must return a gradient for each of x, weight, bias; got "
        f"none for bias{MEND}('linear', 'float32')"
    )
    unbiased = {"x": X, "weight": LINEAR["weight"]}
    assert list(tg.vjp("linear", unbiased, grad_y, backend="mine")[1]) == ["x", "weight"]


def test_an_upstream_gradient_is_asked_for_with_y(bring: Bring) -> None:
    bring(vjp=lambda spec, inputs, grad_y, settings: (X, {"x": grad_y(X[0])}))
    message = refusal(lambda: tg.vjp("tanh", {"x": X}, X, backend="mine"))
    assert "vjp of tanh must return y as an array of shape (2, 2)" in message
    bring(vjp=lambda spec, inputs, grad_y, settings: (X, {"x": grad_y * X}))
    message = refusal(lambda: tg.vjp("tanh", {"x": X}, X, backend="mine"))
    assert "got TypeError: unsupported operand" in message


def test_what_numpy_can_read_is_an_array(bring: Bring) -> None:
    """Such as another library's array, or a number where y is one."""

    class Theirs:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            return X.copy()

    bring(forward=lambda spec, inputs, settings: Theirs())
    y = tg.forward("tanh", {"x": X}, backend="mine")
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, X)
    bring(forward=lambda spec, inputs, settings: inputs["x"].sum())
    assert tg.forward("sum", {"x": X}, backend="mine").shape == ()


def test_an_array_is_handed_on_and_not_copied(bring: Bring) -> None:
    """Else the law that outputs share no memory could not see that a backend's do."""
    bring(forward=lambda spec, inputs, settings: inputs["x"])
    assert tg.forward("relu", {"x": X}, backend="mine") is X


def test_errors_of_twingrad_pass_as_they_are(bring: Bring) -> None:
    def picky(spec: LayerSpec, inputs: Arrays, settings: Settings) -> Any:
        raise DataError("tanh: x must be even")

    bring(forward=picky)
    with pytest.raises(DataError, match=r"^tanh: x must be even$"):
        tg.forward("tanh", {"x": X}, backend="mine")


def test_every_setting_is_handed_over(bring: Bring) -> None:
    seen: list[Settings] = []

    def watching(spec: LayerSpec, inputs: Arrays, settings: Settings) -> Any:
        seen.append(settings)
        return forward(spec, inputs, settings)

    bring(forward=watching)
    load_backend("mine").forward(tg.layer("layer_norm"), {"x": X}, {})
    load_backend("mine").forward(tg.layer("gelu"), {"x": X}, {"approximate": "tanh"})
    assert seen == [{"eps": 1e-5}, {"approximate": "tanh"}]


# What it supports


def test_without_supports_everything_is_asked_for(bring: Bring) -> None:
    bring()
    mine = load_backend("mine")
    for name in (*tg.layers(), *tg.operations()):
        assert supports(mine, name, "float32")
    for name in tg.optimizers():
        assert not supports(mine, name, "float32")
        assert supports(load_backend("numpy"), name, "float32")
    bring(optimizer_step=print)
    assert all(supports(load_backend("mine"), name, "float64") for name in tg.optimizers())


def test_what_is_not_supported_is_refused(bring: Bring) -> None:
    bring(supports=lambda name, dtype: (name, dtype) == ("tanh", "float64"))
    mine = load_backend("mine")
    assert supports(mine, "tanh", "float64")
    assert not supports(mine, "tanh", "float32")
    tg.forward("tanh", {"x": X.astype(np.float64)}, backend="mine")
    for call in (
        lambda: tg.forward("tanh", {"x": X}, backend="mine"),
        lambda: tg.vjp("tanh", {"x": X}, X, backend="mine"),
    ):
        assert refusal(call) == "backend 'mine' does not support tanh in float32"
    bring()
    step = refusal(lambda: tg.optimizer_step("sgd", X, X, backend="mine"))
    assert step == "backend 'mine' does not support sgd in float32"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda name, dtype: None, "got NoneType None"),
        (lambda name, dtype: "yes", "got str 'yes'"),
        (lambda name: True, "got TypeError: "),
    ],
)
def test_supports_must_answer(answer: Any, says: str, bring: Bring) -> None:
    bring(supports=answer)
    message = refusal(lambda: supports(load_backend("mine"), "gelu", "float32"))
    must = "backend 'mine': supports('gelu', 'float32') must return True or False; "
    assert message.startswith(must + says)


# What comes in


BAD_CALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("linear", {"x": np.ones((2, 5)), "weight": np.ones((4, 3))}, {}),
    ("linear", {"x": np.ones((2, 3))}, {}),
    ("linear", {"x": X, "wieght": X}, {}),
    ("linear", {"x": X, "weight": X.astype(np.float64)}, {}),
    ("tanh", {"x": np.arange(3)}, {}),
    ("tanh", {"x": X}, {"eps": 1}),
    ("gelu", {"x": X}, {"approximate": "erf"}),
    ("layer_norm", {"x": X}, {"eps": -1}),
    ("attention", {"query": X, "key": X, "value": X, "mask": np.ones((3, 2), bool)}, {}),
    ("dropout", {"x": X, "keep": X}, {}),
    ("bce_with_logits", {"x": X, "target": X * np.nan}, {}),
    ("add", {"x": np.ones(2), "y": np.ones(3)}, {}),
    ("reshape", {"x": X}, {"shape": (3,)}),
    ("getitem", {"x": X}, {"index": 7}),
    ("concat", {"x0": X, "x1": np.ones((2, 2, 2), np.float32)}, {"axis": 0}),
]


@pytest.mark.parametrize(("name", "inputs", "settings"), BAD_CALLS)
def test_bad_arguments_are_refused_in_the_same_words_as_on_numpy(
    name: str, inputs: dict[str, Any], settings: dict[str, Any], bring: Bring
) -> None:
    """Before the backend, which would take anything, sees them."""
    bring(forward=lambda *arguments: None, vjp=lambda *arguments: None)
    calls: list[Callable[[str], Any]] = [
        lambda backend: tg.forward(name, inputs, backend=backend, **settings),
        lambda backend: tg.vjp(name, inputs, X, backend=backend, **settings),
    ]
    for call in calls:
        errors = []
        for backend in ("numpy", "mine"):
            with pytest.raises(TwingradError) as caught:
                call(backend)
            errors.append((type(caught.value), str(caught.value)))
        assert errors[0] == errors[1]


@pytest.mark.parametrize("grad_y", [np.ones((3, 2), np.float32), np.ones((2, 2))])
def test_a_wrong_upstream_gradient_is_refused_in_the_same_words(grad_y: Any, bring: Bring) -> None:
    bring()
    messages = []
    for backend in ("numpy", "mine"):
        with pytest.raises(TwingradError, match="grad_y") as caught:
            tg.vjp("tanh", {"x": X}, grad_y, backend=backend)
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0] == messages[1]


def test_the_shape_of_every_output_is_known_beforehand(bring: Bring) -> None:
    """NumPy's own layers pass the checks, whatever is drawn."""
    bring()

    @hypothesis.settings(max_examples=3, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.data())
    def agree(data: st.DataObject) -> None:
        for name in (*tg.layers(), *tg.operations()):
            case = data.draw(cases(tg.layer(name), "float32"))
            ours, theirs = (gradients(backend, case) for backend in ("numpy", "mine"))
            assert list(ours) == list(theirs)
            for key, grad in ours.items():
                np.testing.assert_array_equal(grad, theirs[key], strict=True)

    agree()


# Optimizers and models


def test_an_optimizer_step_is_checked_too(bring: Bring) -> None:
    numpy = load_backend("numpy")
    bring(optimizer_step=numpy.optimizer_step)
    params, grads = {"w": X, "b": X[0]}, {"w": X, "b": None}
    results = [tg.optimizer_step("adamw", params, grads, backend=b) for b in ("numpy", "mine")]
    for (ours, state), (theirs, other) in [(results[0], results[1])]:
        np.testing.assert_array_equal(ours["w"], theirs["w"])
        assert state.keys() == other.keys() == {"w"}
        assert state["w"].keys() == other["w"].keys()


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "return ({name: parameter}, {name: state}); got NoneType None"),
        (({}, {"w": {"step": 1}}), "return a parameter for each of w; got dict {}"),
        (({"w": X}, {}), "return a state for each of w; got dict {}"),
        (({"w": X[0]}, {"w": {"step": 1}}), "return parameter w as an array of shape (2, 2)"),
        (({"w": X}, {"w": {}}), "return a state of an int 'step' and what it needs of momentum"),
        (({"w": X}, {"w": {"step": 1, "velocity": X}}), "got dict {'step': 1, 'velocity': array("),
        (({"w": X}, {"w": None}), "got NoneType None for w"),
        (({"w": X}, {"w": {"step": 1, "momentum_buffer": X[0]}}), "momentum_buffer of w as an ar"),
    ],
)
def test_a_wrong_optimizer_step_is_explained(result: Any, says: str, bring: Bring) -> None:
    bring(optimizer_step=lambda *arguments: result)
    message = refusal(lambda: tg.optimizer_step("sgd", {"w": X}, {"w": X}, backend="mine"))
    assert message.startswith("backend 'mine': optimizer_step of sgd must return ")
    assert says in message
    assert message.endswith(f"{MEND}('sgd', 'float32')")


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("dtypes", lambda: tg.build(tg.Tanh(), backend="mine")),
        ("tensor", lambda: tg.tensor(X, backend="mine")),
        ("dtypes", lambda: tg.convert(tg.build(tg.Linear(2, 1)), backend="mine")),
    ],
)
def test_models_are_refused_in_one_line(method: str, call: Any, bring: Bring) -> None:
    bring()
    assert refusal(call) == (
        f"backend 'mine' computes layers, but holds no models: it has no `{method}`; build the "
        f"model on numpy or torch"
    )


def test_models_on_numpy_do_not_mind_it(bring: Bring) -> None:
    bring()
    model = tg.build(tg.Linear(2, 1))
    with tg.no_grad():
        assert not model(X).requires_grad
    model(X).sum().backward()
    assert owner(X) is None
    assert owner(model.weight) is load_backend("numpy")


def test_what_more_a_backend_has_is_reached(bring: Bring) -> None:
    entered: list[str] = []

    def no_grad() -> AbstractContextManager[None]:
        entered.append("no_grad")
        return nullcontext()

    bring(no_grad=no_grad, tensor=lambda array, **how: ("theirs", array.shape))
    with tg.no_grad():
        assert entered == ["no_grad"]
    assert tg.tensor(X, backend="mine") == ("theirs", (2, 2))


def test_one_that_is_loaded_under_no_grad_joins_in(register: Register) -> None:
    register()
    with tg.no_grad():
        assert tg.load_backend("mine").name == "mine"


# Under the laws


def judge(backend: str, layer: str, dtype: str) -> None:
    """Hold a backend to the definition of one layer, in a few cases that are not shrunk."""
    session = Session(Options(backend=backend, reference="numpy"))

    @hypothesis.settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(st.data())
    def agrees(data: st.DataObject) -> None:
        case = data.draw(cases(tg.layer(layer), dtype))
        check_forward(case, session)
        check_gradient(case, session)

    agrees()


def test_the_example_of_the_page_obeys_the_laws(register: Register) -> None:
    assert len(EXAMPLE.splitlines()) <= 25
    register()
    mine = load_backend("mine")
    supported = [name for name in tg.layers() if supports(mine, name, "float32")]
    assert supported == ["tanh", "relu"]
    for name in supported:
        for dtype in ("float32", "float64"):
            judge("mine", name, dtype)


@pytest.mark.parametrize(
    ("layer", "dtype", "error", "says"),
    [
        ("tanh", "float64", Disagreement, r"tanh \(float64\): grad_x.* is wrong on wrong, right"),
        ("softmax", "float64", Disagreement, "softmax .*: grad_x.* is wrong on wrong, right"),
        ("layer_norm", "float32", Disagreement, r"layer_norm .*: y.* is wrong on wrong, right"),
        ("linear", "float32", BackendError, "vjp of linear must .*; got none for bias"),
        ("sum", "float32", BackendError, "forward of sum must .* float32; got dtype float64"),
    ],
)
def test_each_fault_of_the_wrong_backend_is_found(
    layer: str, dtype: str, error: type[Exception], says: str, register: Register
) -> None:
    register(WRONG.read_text(encoding="utf-8"), "wrong")
    with pytest.raises(error, match=says):
        judge("wrong", layer, dtype)


@pytest.mark.parametrize(("layer", "dtype"), [("relu", "float32"), ("sum", "float64")])
def test_what_the_wrong_backend_has_right_is_not_blamed(
    layer: str, dtype: str, register: Register
) -> None:
    register(WRONG.read_text(encoding="utf-8"), "wrong")
    judge("wrong", layer, dtype)


@pytest.mark.parametrize("page", sorted((ROOT / "examples").glob("*_backend/pyproject.toml")))
def test_the_examples_name_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'entry-points."twingrad.backends"\]\n(\w+) = "(\w+)"', text)
    assert found is not None
    module = (page.parent / f"{found[2]}.py").read_text(encoding="utf-8")
    assert f'\nname = "{found[1]}"\n' in module
    assert f'py-modules = ["{found[2]}"]' in text
    assert len(module.splitlines()) <= 150
    assert (page.parent / "README.md").is_file()
