"""What training has learned goes into a file, and goes on from it on either backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.errors import StateError
from twingrad.core.spec import Array

BACKENDS = ("numpy", "torch")
BEFORE, AFTER = 5, 7  # steps before the model is saved, and after it is loaded
Optimize = Callable[[Any], Any]  # from parameters to an optimizer

OPTIMIZERS: dict[str, Optimize] = {
    "adamw": lambda params: tg.AdamW(params, lr=0.02),
    "adamw with amsgrad": lambda params: tg.AdamW(params, lr=0.02, amsgrad=True, maximize=True),
    "sgd": lambda params: tg.SGD(params, lr=0.1),
    "sgd with momentum": lambda params: tg.SGD(params, lr=0.05, momentum=0.9, dampening=0.1),
    "sgd with nesterov": lambda params: tg.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
}
every_optimizer = pytest.mark.parametrize("optimize", OPTIMIZERS.values(), ids=OPTIMIZERS)
from_here = pytest.mark.parametrize("here", BACKENDS)
to_there = pytest.mark.parametrize("there", BACKENDS)


def model_of(backend: str, seed: int = 0, dtype: str = "float64") -> Any:
    module = tg.Sequential(
        tg.Linear(3, 5), tg.Tanh(), tg.Dropout(0.2), tg.LayerNorm(5), tg.Linear(5, 1)
    )
    return tg.build(module, backend, seed=seed, dtype=dtype)


def train(model: Any, opt: Any, steps: range) -> None:
    """Take the steps of these numbers; the batch depends on nothing but the number."""
    dtype = tg.to_numpy(next(iter(model.parameters()))).dtype
    for number in steps:
        rng = np.random.default_rng(number)
        x, target = rng.uniform(-1, 1, (8, 3)), rng.uniform(0, 1, (8, 1))
        loss = tg.BCEWithLogitsLoss()(model(x.astype(dtype)), target.astype(dtype))
        opt.zero_grad()
        loss.backward()
        opt.step()


def everything(model: Any, opt: Any) -> dict[str, Array]:
    """Return parameters and optimizer state as arrays by name, and what has been drawn."""
    arrays = {name: tg.to_numpy(value) for name, value in model.state_dict().items()}
    for number, entries in opt.state_dict()["state"].items():
        for name, value in entries.items():
            # Torch keeps arrays that an optimizer without momentum never looks at.
            if np.any(tg.to_numpy(value)):
                arrays[f"{number}.{name}"] = tg.to_numpy(value)
    draws = [
        (part.draws.seed, part.draws.count) for part in model.modules() if part.draws is not None
    ]
    return arrays | {"draws": np.array(draws)}


def check_same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], name, strict=True)


@every_optimizer
@from_here
@to_there
def test_a_checkpoint_gives_back_every_bit(
    tmp_path: Path, optimize: Optimize, here: str, there: str, dtype: str
) -> None:
    """Parameters, optimizer state, settings, step, extras and draws, on either backend."""
    model = model_of(here, dtype=dtype)
    opt = optimize(model.parameters())
    train(model, opt, range(BEFORE))
    opt.param_groups[0]["lr"] = 0.0123
    tg.save_checkpoint(tmp_path / "c", model=model, optimizer=opt, step=5, extra={"a": [1, "b"]})
    twin = model_of(there, seed=1, dtype=dtype)
    twin_opt = optimize(twin.parameters())
    found = tg.load_checkpoint(tmp_path / "c", model=twin, optimizer=twin_opt)
    check_same(everything(model, opt), everything(twin, twin_opt))
    assert (found.step, found.extra) == (5, {"a": [1, "b"]})
    assert twin_opt.state_dict()["param_groups"] == opt.state_dict()["param_groups"]
    assert repr(twin_opt) == repr(opt)


@every_optimizer
@from_here
@to_there
def test_training_goes_on_from_the_same_state_dicts(
    optimize: Optimize, here: str, there: str
) -> None:
    """Without a file: an optimizer's state dict of one backend is taken by the other."""
    model = model_of(here)
    opt = optimize(model.parameters())
    train(model, opt, range(BEFORE))
    twin = tg.convert(model, there)
    twin_opt = optimize(twin.parameters())
    twin_opt.load_state_dict(opt.state_dict())
    check_same(everything(model, opt), everything(twin, twin_opt))


def run(backend: str, optimize: Optimize, nudge: float = 0.0, signs: int = 0) -> dict[str, Array]:
    """Train without a break, from first values that are each moved by a fraction `nudge`."""
    model = model_of(backend)
    rng = np.random.default_rng(signs)
    first = {name: tg.to_numpy(value) for name, value in model.state_dict().items()}
    model.load_state_dict(
        {name: x * (1 + nudge * rng.choice([-1, 1], x.shape)) for name, x in first.items()}
    )
    opt = optimize(model.parameters())
    train(model, opt, range(BEFORE + AFTER))
    return everything(model, opt)


def resumed(path: Path, here: str, there: str, optimize: Optimize) -> dict[str, Array]:
    """Train, save on one backend, load on the other, and train on."""
    model = model_of(here)
    opt = optimize(model.parameters())
    train(model, opt, range(BEFORE))
    tg.save_checkpoint(path, model=model, optimizer=opt, step=BEFORE)
    twin = model_of(there, seed=1)
    twin_opt = optimize(twin.parameters())
    found = tg.load_checkpoint(path, model=twin, optimizer=twin_opt)
    train(twin, twin_opt, range(found.step, BEFORE + AFTER))
    return everything(twin, twin_opt)


@every_optimizer
@from_here
def test_a_run_that_was_saved_and_loaded_is_the_unbroken_run(
    tmp_path: Path, optimize: Optimize, here: str
) -> None:
    """On one backend nothing is lost, so the bits are equal."""
    check_same(resumed(tmp_path / "c", here, here, optimize), run(here, optimize))


@every_optimizer
@from_here
def test_a_run_that_changes_the_backend_is_the_unbroken_run(
    tmp_path: Path, optimize: Optimize, here: str
) -> None:
    """Two backends round differently, so the runs part as far as roundings can take them.

    How far that is, the problem itself says: a run from parameters that are off by as many units
    of roundoff as two for each step moves further than the backends do.
    """
    there = BACKENDS[1 - BACKENDS.index(here)]
    unbroken = run(here, optimize)
    nudge = 2 * (BEFORE + AFTER) * float(np.finfo(np.float64).eps)
    nudged = [run(here, optimize, nudge, signs) for signs in range(4)]
    for name, value in resumed(tmp_path / "c", here, there, optimize).items():
        largest = np.abs(unbroken[name]).max()
        moved = max(np.abs(other[name] - unbroken[name]).max() for other in nudged)
        assert np.abs(value - unbroken[name]).max() <= max(moved, nudge * largest), name


@from_here
def test_settings_that_are_out_of_range_are_not_taken_from_a_state(here: str) -> None:
    model = model_of(here)
    opt = tg.AdamW(model.parameters(), lr=0.5)
    state = opt.state_dict()
    state["param_groups"][0]["lr"] = -1.0
    with pytest.raises(StateError, match="lr must be a number >= 0"):
        opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 0.5


@from_here
@pytest.mark.parametrize("fault", ["groups", "number", "shape", "name"])
def test_an_optimizer_state_that_does_not_fit_changes_nothing(here: str, fault: str) -> None:
    model = model_of(here)
    opt = tg.AdamW(model.parameters())
    train(model, opt, range(2))
    before, state = everything(model, opt), opt.state_dict()
    if fault == "groups":
        state["param_groups"].append({"params": []})
    elif fault == "number":
        state["state"][99] = state["state"].pop(0)
    elif fault == "shape":
        state["state"][0]["exp_avg"] = np.zeros((5, 1))
    else:
        state["state"][0]["velocity"] = np.zeros((5, 3))
    with pytest.raises(StateError, match=r"^adamw: "):
        opt.load_state_dict(state)
    check_same(everything(model, opt), before)
