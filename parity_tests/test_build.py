"""One recipe, two backends: the same first values, the same names, and a true torch module."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

import twingrad as tg
from twingrad.core.errors import BackendError, DTypeError, SettingError, StateError
from twingrad.core.spec import Array

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)


class Block(tg.Module):
    """LayerNorm, GELU and attention in a residual block."""

    def __init__(self, width: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = tg.LayerNorm(width)
        self.attend = tg.MultiHeadAttention(width, 2, dropout=dropout, batch_first=True)
        self.gelu, self.drop = tg.GELU(), tg.Dropout(dropout)
        self.out = tg.Linear(width, width)

    def forward(self, x: Any) -> Any:
        h = self.norm(x)
        seen, _ = self.attend(h, h, h, need_weights=False)
        return x + self.drop(self.out(self.gelu(seen)))


class Shared(tg.Module):
    """One layer under two names, and one parameter under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = tg.Linear(3, 3)
        self.again = self.first
        self.tied = tg.Linear(3, 3, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        return self.tied(self.again(self.first(x)))


@both_backends
def test_an_embeddings_first_values_are_normal_with_padding_0(backend: str) -> None:
    model = tg.build(tg.Embedding(400, 50, padding_idx=-1), backend=backend, seed=3)
    weight = model.state_dict()["weight"]
    weight = weight if isinstance(weight, np.ndarray) else weight.numpy()
    assert abs(float(weight[:-1].mean())) < 0.05
    assert abs(float(weight[:-1].std()) - 1) < 0.05
    assert not weight[-1].any()
    assert model.padding_idx == 399
    with pytest.raises(SettingError, match="padding_idx must be within num_embeddings = 3; got 3"):
        tg.Embedding(3, 2, padding_idx=3)


@both_backends
def test_classes_stand_second_for_the_module_and_last_for_the_layer(backend: str) -> None:
    """As in torch: (N, classes, d1, d2) with targets (N, d1, d2)."""
    rng = np.random.default_rng(5)
    x, target = rng.standard_normal((2, 7, 3, 4)), rng.integers(0, 7, (2, 3, 4))
    target[0, 0, 0] = -100
    weight = rng.random(7)
    for reduction in ("none", "mean"):
        settings: dict[str, Any] = {"label_smoothing": 0.1, "reduction": reduction}
        loss = tg.build(tg.CrossEntropyLoss(weight, **settings), backend=backend)
        last = {"x": np.moveaxis(x, 1, -1), "target": target, "weight": weight}
        expected = tg.forward("cross_entropy", last, backend=backend, **settings)
        np.testing.assert_array_equal(tg.to_numpy(loss(x, target)), expected)


class Stack(tg.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = tg.ModuleList([Block(), Block()]).append(tg.Tanh())

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


def mlp() -> tg.Module:
    return tg.Sequential(tg.Linear(4, 5), tg.Tanh(), tg.Linear(5, 1))


RECIPES: dict[str, Any] = {
    "Linear": lambda: tg.Linear(3, 4),
    "Linear without bias": lambda: tg.Linear(3, 4, bias=False),
    "LayerNorm": lambda: tg.LayerNorm(5),
    "LayerNorm without bias": lambda: tg.LayerNorm(5, bias=False),
    "LayerNorm without anything": lambda: tg.LayerNorm(5, elementwise_affine=False),
    "MultiHeadAttention": lambda: tg.MultiHeadAttention(4, 2),
    "MultiHeadAttention without bias": lambda: tg.MultiHeadAttention(4, 2, bias=False),
    "MultiHeadAttention of other widths": lambda: tg.MultiHeadAttention(4, 2, kdim=3, vdim=5),
    "Sequential": mlp,
    "ModuleList": Stack,
    "nested": Block,
    "shared": Shared,
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def state(model: Any) -> dict[str, Array]:
    return {name: tg.to_numpy(value) for name, value in model.state_dict().items()}


def check_same_state(one: Any, other: Any) -> None:
    """Two models have the same names, dtypes and bits."""
    first, second = state(one), state(other)
    assert list(first) == list(second)
    for name, value in first.items():
        assert value.dtype == second[name].dtype, name
        np.testing.assert_array_equal(value, second[name], name, strict=True)


def numbers(*shape: int, dtype: str = "float64") -> Array:
    return np.random.default_rng(5).uniform(-1, 1, shape).astype(dtype)


# First values


@every_recipe
@pytest.mark.parametrize("seed", [0, 1, 2**70])
def test_first_values_are_equal_bit_for_bit(recipe: Any, dtype: str, seed: int) -> None:
    models = [tg.build(recipe(), backend, seed=seed, dtype=dtype) for backend in BACKENDS]
    check_same_state(*models)
    assert all(value.dtype == dtype for value in state(models[0]).values())


def test_another_seed_gives_other_values() -> None:
    states = [state(tg.build(mlp(), "numpy", seed=seed)) for seed in (0, 1)]
    for name, value in states[0].items():
        assert (value != states[1][name]).all(), name


def test_first_values_depend_on_the_name_alone() -> None:
    """A model that grows keeps the first values of what it had."""
    small = state(tg.build(tg.Sequential(tg.Linear(4, 5)), "numpy"))
    large = state(tg.build(mlp(), "numpy"))
    for name, value in small.items():
        np.testing.assert_array_equal(large[name], value)


def check_uniform(values: Array, bound: float) -> None:
    """All within the bound, and the spread right within 6 standard errors (chance 2e-9)."""
    assert np.abs(values).max() <= bound
    # Of n uniform numbers, x^2 has mean b^2/3 and variance 4 b^4/45.
    error = math.sqrt(4 * bound**4 / 45 / values.size)
    assert abs(np.mean(values**2) - bound**2 / 3) <= 6 * error
    assert abs(np.mean(values)) <= 6 * bound / math.sqrt(3 * values.size)


def test_the_distributions_are_torchs() -> None:
    """Linear: U(+-1/sqrt(in)); attention: Xavier for projections, bias 0; LayerNorm: 1 and 0."""
    linear = state(tg.build(tg.Linear(64, 256), "numpy", dtype="float64"))
    attend = state(tg.build(tg.MultiHeadAttention(64, 4), "numpy", dtype="float64"))
    apart = state(tg.build(tg.MultiHeadAttention(64, 4, kdim=32), "numpy", dtype="float64"))
    norm = state(tg.build(tg.LayerNorm(64), "numpy", dtype="float64"))
    check_uniform(linear["weight"], 1 / math.sqrt(64))
    check_uniform(linear["bias"], 1 / math.sqrt(64))
    check_uniform(attend["in_proj_weight"], math.sqrt(6 / (64 + 3 * 64)))
    check_uniform(attend["out_proj.weight"], 1 / math.sqrt(64))
    check_uniform(apart["k_proj_weight"], math.sqrt(6 / (32 + 64)))
    assert not attend["in_proj_bias"].any()
    assert not attend["out_proj.bias"].any()
    assert (norm["weight"] == 1).all()
    assert not norm["bias"].any()


def test_torchs_own_modules_pass_the_same_check_of_distribution() -> None:
    """So the check above says something about torch, not only about this code."""
    torch.manual_seed(0)
    linear, attend = torch.nn.Linear(64, 256), torch.nn.MultiheadAttention(64, 4)
    check_uniform(linear.weight.detach().numpy(), float(np.float32(1 / math.sqrt(64))))
    check_uniform(attend.in_proj_weight.detach().numpy(), math.sqrt(6 / (64 + 3 * 64)))
    check_uniform(attend.out_proj.weight.detach().numpy(), float(np.float32(1 / math.sqrt(64))))


@both_backends
@every_recipe
def test_a_recipe_stays_without_arrays_and_builds_twice(backend: str, recipe: Any) -> None:
    module = recipe()
    first = tg.build(module, backend)
    assert all(isinstance(parameter, tg.Parameter) for parameter in module.parameters())
    assert module.backend is None
    second = tg.build(module, backend)
    check_same_state(first, second)
    ids = {id(parameter) for parameter in first.parameters()}
    assert not ids & {id(parameter) for parameter in second.parameters()}


def test_building_leaves_the_global_generators_alone() -> None:
    np.random.seed(3)  # noqa: NPY002 - it is the global generator that is watched
    torch.manual_seed(3)
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    for backend in BACKENDS:
        tg.build(Block(dropout=0.5), backend)(numbers(2, 3, 8, dtype="float32"))
    assert np.random.get_state()[1].tobytes() == before[0]  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


# Sharing, and what cannot be built


@both_backends
def test_what_is_shared_stays_shared(backend: str) -> None:
    """Three names of state, two parameters, and the gradients of all uses in them."""
    model = tg.build(Shared(), backend, dtype="float64")
    assert model.first is model.again
    assert model.tied.weight is model.first.weight
    assert [name for name, _ in model.named_parameters()] == ["first.weight", "first.bias"]
    assert list(state(model)) == [
        "first.weight",
        "first.bias",
        "again.weight",
        "again.bias",
        "tied.weight",
    ]
    tg.SGD(model.parameters(), lr=0.1)


def test_shared_parameters_have_the_same_gradients_on_both_backends() -> None:
    grads = []
    for backend in BACKENDS:
        model = tg.build(Shared(), backend)
        whole = {name: np.rint(4 * value) for name, value in state(model).items()}
        model.load_state_dict(whole)
        model(np.ones((2, 3), "float32")).sum().backward()
        grads.append([tg.to_numpy(parameter.grad) for parameter in model.parameters()])
    for ours, theirs in zip(*grads, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@both_backends
def test_a_module_that_stands_twice_in_a_row_runs_twice(backend: str) -> None:
    """As in torch: tanh(tanh(x)), with three places, and the state of a shared layer twice."""
    tanh, linear = tg.Tanh(), tg.Linear(2, 2, bias=False)
    model = tg.build(tg.Sequential(tanh, tanh, linear, linear), backend, dtype="float64")
    model.load_state_dict({f"{place}.weight": 2 * np.eye(2) for place in (2, 3)})
    x = np.array([[0.5, -1.0]])
    once = tg.to_numpy(model[0](x))
    np.testing.assert_array_equal(tg.to_numpy(model(x)), 4 * tg.to_numpy(model[0](once)))
    assert len(model) == len(list(model)) == 4
    assert model[1] is model[0]
    assert list(state(model)) == ["2.weight", "3.weight"]
    assert [name for name, _ in model.named_parameters()] == ["2.weight"]
    assert repr(model).count("Tanh()") == 2


@both_backends
@pytest.mark.parametrize("there", BACKENDS)
def test_what_is_frozen_stays_frozen(backend: str, there: str) -> None:
    """In a conversion and in a deep copy; and an optimizer passes it over."""
    model = tg.build(mlp(), backend)
    model[0].weight.requires_grad_(False)
    for twin in (tg.convert(model, there), copy.deepcopy(model)):
        assert [p.requires_grad for p in twin.parameters()] == [False, True, True, True]
        before = state(twin)
        twin(numbers(2, 4, dtype="float32")).sum().backward()
        tg.AdamW(twin.parameters(), lr=0.1).step()
        moved = [name for name, value in state(twin).items() if (value != before[name]).any()]
        assert moved == ["0.bias", "2.weight", "2.bias"]


@both_backends
@pytest.mark.parametrize("kind", [list, tuple, lambda found: {"a": found[0]}])
def test_modules_hidden_in_a_list_are_refused(backend: str, kind: Any) -> None:
    module = tg.Sequential(tg.Tanh())
    module[0].parts = kind([tg.Linear(1, 1)])
    with pytest.raises(SettingError, match=r"0\.parts is a .*; use twingrad\.ModuleList"):
        tg.build(module, backend)


@both_backends
def test_what_cannot_be_built_says_so(backend: str) -> None:
    model = tg.build(mlp(), backend)
    with pytest.raises(BackendError, match="built already"):
        tg.build(model, backend)
    with pytest.raises(DTypeError, match="'int32'"):
        tg.build(mlp(), backend, dtype="int32")
    for seed in (-1, 0.5, True):
        with pytest.raises(SettingError, match="seed"):
            tg.build(mlp(), backend, seed=seed)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="'nowhere'"):
        tg.build(mlp(), backend, device="nowhere")
    with pytest.raises(BackendError, match="recipe without parameters"):
        mlp()(numbers(1, 4))
    with pytest.raises(BackendError, match="not a built model"):
        tg.convert(mlp(), backend)


# Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_the_same_elements_on_both_backends(p: float) -> None:
    x = np.ones((16, 16))
    models = [tg.build(tg.Dropout(p), backend, seed=4, dtype="float64") for backend in BACKENDS]
    drawn = []
    for _ in range(3):
        ours, theirs = (tg.to_numpy(model(x)) for model in models)
        np.testing.assert_array_equal(ours, theirs, strict=True)
        drawn.append(ours)
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[1] != drawn[2]).any()


@both_backends
def test_two_dropouts_of_a_model_draw_other_numbers(backend: str) -> None:
    model = tg.build(tg.ModuleList([tg.Dropout(), tg.Dropout()]), backend)
    first, second = (tg.to_numpy(part(np.ones(64, "float32"))) for part in model)
    assert (first != second).any()


def test_native_random_is_torchs_own_generator() -> None:
    x = np.ones((64, 64), "float32")
    model = tg.build(tg.Dropout(0.5), "torch", native_random=True)
    torch.manual_seed(1)
    first = tg.to_numpy(model(x))
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, tg.to_numpy(model(x)))
    assert set(np.unique(first)) == {0.0, 2.0}
    equal = tg.to_numpy(tg.build(tg.Dropout(0.5), "numpy", native_random=True)(x))
    np.testing.assert_array_equal(equal, tg.to_numpy(tg.build(tg.Dropout(0.5), "numpy")(x)))


# From one backend to the other


@every_recipe
@pytest.mark.parametrize("there", BACKENDS)
def test_converting_there_and_back_changes_no_bit(recipe: Any, dtype: str, there: str) -> None:
    back = BACKENDS[1 - BACKENDS.index(there)]
    model = tg.build(recipe(), back, seed=3, dtype=dtype)
    twin = tg.convert(model, there)
    check_same_state(model, twin)
    check_same_state(model, tg.convert(twin, back))


@both_backends
def test_a_converted_model_goes_on_drawing_where_it_was(backend: str) -> None:
    """Training mode and dropout's draws so far go along, so the next masks are equal."""
    x = numbers(2, 3, 8)
    model = tg.build(Block(dropout=0.5), backend, dtype="float64")
    model(x)
    twin = tg.convert(model, BACKENDS[1 - BACKENDS.index(backend)])
    ours, theirs = (tg.to_numpy(m.drop(np.ones((8, 8)))) for m in (model, twin))
    np.testing.assert_array_equal(ours, theirs, strict=True)
    model.attend.eval()
    again = tg.convert(twin, backend)
    assert [m.training for m in tg.convert(model, backend).modules()] == [
        m.training for m in model.modules()
    ]
    assert all(m.training for m in again.modules())


def test_a_converted_model_computes_the_same() -> None:
    """On whole numbers, bit for bit, after training has moved the parameters."""
    model = tg.build(tg.Sequential(tg.Linear(4, 4), tg.ReLU(), tg.Linear(4, 2)), "numpy")
    model.load_state_dict({name: np.rint(8 * value) for name, value in state(model).items()})
    x = np.rint(8 * numbers(3, 4, dtype="float32"))
    twin = tg.convert(model, "torch")
    np.testing.assert_array_equal(tg.to_numpy(model(x)), tg.to_numpy(twin(x)), strict=True)


# State dicts


TWINS: dict[str, tuple[Any, Any]] = {
    "Linear": (lambda: tg.Linear(3, 4), lambda: torch.nn.Linear(3, 4)),
    "LayerNorm": (lambda: tg.LayerNorm(5), lambda: torch.nn.LayerNorm(5)),
    "MultiHeadAttention": (
        lambda: tg.MultiHeadAttention(4, 2),
        lambda: torch.nn.MultiheadAttention(4, 2),
    ),
    "MultiHeadAttention of other widths": (
        lambda: tg.MultiHeadAttention(4, 2, kdim=3, vdim=5),
        lambda: torch.nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
    ),
    "Sequential": (
        mlp,
        lambda: torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)),
    ),
    "ModuleList": (
        lambda: tg.ModuleList([tg.Linear(2, 2), tg.LayerNorm(2)]),
        lambda: torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.LayerNorm(2)]),
    ),
}


@pytest.mark.parametrize(("recipe", "plain"), TWINS.values(), ids=TWINS)
def test_a_state_goes_to_plain_torch_and_back(recipe: Any, plain: Any) -> None:
    """From NumPy to torch to a module of torch's own, and from there to NumPy, bit for bit."""
    ours, twin, theirs = tg.build(recipe(), "numpy"), tg.build(recipe(), "torch"), plain()
    twin.load_state_dict(tg.build(recipe(), "numpy", seed=9).state_dict())
    theirs.load_state_dict(twin.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert state(ours).keys() == theirs.state_dict().keys()
    check_same_state(ours, theirs)
    check_same_state(ours, tg.build(recipe(), "torch", seed=9))


def faulty_states(good: dict[str, Array]) -> dict[str, dict[str, Any]]:
    weight = good["0.weight"]
    return {
        "missing": {name: value for name, value in good.items() if name != "0.weight"},
        "unexpected": {**good, "3.weight": weight},
        "renamed": {name.replace("0.", "1."): value for name, value in good.items()},
        "wrong shape": {**good, "0.weight": weight.T},
        "shape that broadcasts": {**good, "0.weight": weight[:1]},
        "integers": {**good, "2.bias": np.ones(1, int)},
        "empty": {},
    }


@both_backends
@pytest.mark.parametrize("fault", faulty_states(state(tg.build(mlp(), "numpy"))))
def test_a_state_that_does_not_fit_changes_nothing(backend: str, fault: str) -> None:
    model = tg.build(mlp(), backend)
    before = tg.build(mlp(), backend)
    bad = faulty_states(state(tg.build(mlp(), "numpy", seed=1)))[fault]
    with pytest.raises(StateError, match=r"^load_state_dict: [^\n]*$"):
        model.load_state_dict(bad)
    check_same_state(model, before)


@both_backends
def test_not_strict_takes_what_fits(backend: str) -> None:
    model, other = tg.build(mlp(), backend), state(tg.build(mlp(), "numpy", seed=1))
    found = model.load_state_dict(
        {"0.weight": other["0.weight"], "extra": other["0.bias"]}, strict=False
    )
    assert found.missing_keys == ["0.bias", "2.weight", "2.bias"]
    assert found.unexpected_keys == ["extra"]
    np.testing.assert_array_equal(state(model)["0.weight"], other["0.weight"])
    with pytest.raises(StateError, match=r"0\.weight must have shape"):
        model.load_state_dict({"0.weight": other["0.bias"]}, strict=False)


@both_backends
def test_a_state_dict_is_a_copy(backend: str) -> None:
    """Torch's own shares memory; what twingrad hands out as arrays does not."""
    model = tg.build(tg.Linear(2, 2), backend)
    before = state(model)
    state(model)["weight"][:] = 7
    tg.to_numpy(model.weight)[:] = 7
    np.testing.assert_array_equal(state(model)["weight"], before["weight"])


# The model on torch is a torch.nn.Module


@pytest.mark.parametrize(
    ("recipe", "shape"), [(mlp, (3, 4)), (Block, (2, 3, 8))], ids=["mlp", "block"]
)
def test_torch_compile_gives_the_same_as_eager(recipe: Any, shape: tuple[int, ...]) -> None:
    """The whole forward is one graph; outputs and gradients are within a rounding or two each."""
    results = []
    for compiled in (False, True):
        model = tg.build(recipe(), "torch", dtype="float64")
        call = torch.compile(model, fullgraph=True, backend="aot_eager") if compiled else model
        x = torch.from_numpy(numbers(*shape)).requires_grad_()
        y = call(x)
        (y * y).sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in model.parameters())])
    eps = float(np.finfo(np.float64).eps)
    for eager, other in zip(*results, strict=True):
        # Torch may fuse what it traced, so two roundings for each of some fifty operations.
        assert float((eager - other).abs().max()) <= 100 * eps * max(float(eager.abs().max()), 1)


def test_a_torch_model_is_a_torch_module() -> None:
    model = tg.build(Block(), "torch")
    assert isinstance(model, torch.nn.Module)
    assert isinstance(model, Block)
    assert all(isinstance(part, torch.nn.Module) for part in model.modules())
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in model.parameters())
    called = []
    model.out.register_forward_hook(lambda module, args, y: called.append(tuple(y.shape)))
    model(torch.ones(2, 3, 8))
    assert called == [(2, 3, 8)]
    assert not model.eval().attend.training
    assert model.train().attend.training


def test_a_torch_model_moves_to_another_dtype() -> None:
    model = tg.build(Block(), "torch").to(torch.float64)
    assert model(numbers(2, 3, 8)).dtype == torch.float64
    assert all(value.dtype == np.float64 for value in state(model).values())


def test_a_torch_model_moves_to_the_gpu_where_there_is_one() -> None:
    """Arrays given to it follow it there, and gradients come back from there."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = tg.build(Block(dropout=0.1), "torch", dtype="float64").to(device)
    made = tg.build(Block(dropout=0.1), "torch", dtype="float64", device=device)
    for model in (moved, made):
        y = model(numbers(2, 3, 8))
        (y * y).sum().backward()
        assert {parameter.grad.device.type for parameter in model.parameters()} == {device}
        assert tg.to_numpy(y).shape == (2, 3, 8)
    if device == "cpu":
        with pytest.raises(BackendError, match="device 'cuda' cannot be used"):
            tg.build(Block(), "torch", device="cuda")


def test_torchs_optimizer_trains_a_torch_model() -> None:
    """Exactly as it trains the same model made of torch's own modules."""
    model = tg.build(mlp(), "torch", dtype="float64")
    plain = TWINS["Sequential"][1]().double()
    plain.load_state_dict(model.state_dict())
    x = torch.from_numpy(numbers(6, 4))
    for network in (model, plain):
        opt = torch.optim.AdamW(network.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            (network(x) ** 2).sum().backward()
            opt.step()
    check_same_state(model, plain)


# Copies and looks


@both_backends
def test_a_deep_copy_is_a_model_of_its_own(backend: str) -> None:
    model = tg.build(Block(dropout=0.5), backend, dtype="float64")
    x = numbers(2, 3, 8)
    model(x)
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(tg.to_numpy(model(x)), tg.to_numpy(twin(x)))
    (twin(x) ** 2).sum().backward()
    tg.SGD(twin.parameters(), lr=1.0).step()
    check_same_state(model, tg.build(Block(dropout=0.5), backend, dtype="float64"))
    assert (state(twin)["out.weight"] != state(model)["out.weight"]).any()
    tg.convert(twin, BACKENDS[1 - BACKENDS.index(backend)])


@both_backends
def test_a_deep_copy_keeps_what_is_shared(backend: str) -> None:
    twin = copy.deepcopy(tg.build(Shared(), backend))
    assert twin.first is twin.again
    assert twin.tied.weight is twin.first.weight


@both_backends
def test_a_subclass_may_extend_what_its_parent_does(backend: str) -> None:
    class Doubled(Block):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    x = numbers(2, 3, 8)
    once = tg.build(Block(), backend, dtype="float64")(x)
    twice = tg.build(Doubled(), backend, dtype="float64")(x)
    np.testing.assert_array_equal(tg.to_numpy(twice), 2 * tg.to_numpy(once))


@pytest.mark.parametrize("made", ["recipe", *BACKENDS])
def test_a_model_prints_its_parts(made: str) -> None:
    model = tg.Sequential(tg.Linear(2, 5), tg.Sequential(tg.Tanh(), tg.LayerNorm(5)))
    shown = repr(model if made == "recipe" else tg.build(model, made))
    assert shown.splitlines() == [
        "Sequential(",
        "  (0): Linear(2, 5, bias=True)",
        "  (1): Sequential(",
        "    (0): Tanh()",
        "    (1): LayerNorm(5, eps=1e-05)",
        "  )",
        ")",
    ]
