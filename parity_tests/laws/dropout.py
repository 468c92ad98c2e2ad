"""What the laws must know of dropout, and what only it has."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import torch

import twingrad as tg
from twingrad.core.layers.dropout import dropout
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.ball import outcome, same
from twingrad.parity_tests.laws.drawn import changed, drawn
from twingrad.parity_tests.laws.roundings import BASIC, Weights
from twingrad.parity_tests.laws.table import law


def bound(g: Array, x: Array, keep: Array, p: float) -> Weights:
    # The multiplier is rounded once, the product once more.
    kept = dropout(np.ones_like(x), keep, p)
    return {"y": 2 * BASIC * np.abs(x) * kept, "grad_x": 2 * BASIC * g * kept}


def truth(x: Array, keep: Array, p: float) -> Any:
    # By the spec the multiplier is rounded to the dtype, which here is float64.
    return np.where(keep, x * mpmath.mpf(1 / (1 - p)), mpmath.mpf(0)) if p < 1 else x * 0


INTEGERS = {"p": 0.5}
ALPHA = 1e-9  # chance that a fair dropout is called unfair


@law("dropout", "p = 0 is the identity", draws=drawn, exact=True)
def of_nothing(case: Case, backend: str) -> None:
    keep = np.ones_like(case.inputs["keep"])
    found = outcome(changed(case, settings={"p": 0.0}, keep=keep), backend)
    same(backend, "y at p = 0", found["y"], case.inputs["x"])
    same(backend, "grad_x at p = 0", found["grad_x"], case.grad_y)


@law("dropout", "p = 1 leaves nothing", draws=drawn, exact=True)
def of_everything(case: Case, backend: str) -> None:
    found = outcome(changed(case, settings={"p": 1.0}), backend)
    for what in found:
        same(backend, f"{what} at p = 1", found[what], np.zeros_like(case.inputs["x"]))


@law("dropout", "both passes share the mask", draws=drawn, exact=True)
def shares_its_mask(case: Case, backend: str) -> None:
    """What is 0 in y is 0 in grad_x, and what is kept is scaled by one number in both."""
    keep = case.inputs["keep"]
    ones = np.ones_like(case.grad_y)
    found = outcome(changed(case, grad_y=ones, x=ones), backend)
    same(backend, "the mask of y", found["y"] != 0, keep)
    same(backend, "grad_x against y", found["grad_x"], found["y"])
    kept, multiplier = found["y"][keep], 1 / (1 - case.settings["p"])
    same(backend, "the multiplier of what is kept", kept, np.full_like(kept, multiplier))


def _masks(case: Case, backend: str, native: bool) -> list[Array]:
    """Return what two calls of one dropout keep of 4096 elements; the seed is the case's size."""
    seed = case.grad_y.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = tg.Dropout(case.settings["p"])
        model = tg.build(module, backend, seed=seed, dtype=str(case.dtype), native_random=native)
        ones = np.ones((64, 64), case.dtype)
        return [tg.to_numpy(model(load_backend(backend).tensor(ones))) != 0 for _ in range(2)]


def _check_count(backend: str, what: str, count: int, of: int, chance: float) -> None:
    """Raise AssertionError if the count has a chance below ALPHA (Chernoff's bound of it)."""
    share = count / of
    divergence = sum(
        s * math.log(s / max(c, 1e-300)) for s, c in ((share, chance), (1 - share, 1 - chance)) if s
    )
    likelihood = 2 * math.exp(-of * divergence)
    assert likelihood >= ALPHA, (
        f"{what} is wrong on {backend}: {count} of {of} at a chance of {chance} each "
        f"(likelihood {likelihood:.3g})"
    )


@law("dropout", "the share that is kept is 1 - p", draws=drawn, needs_tensors=True)
def keeps_its_share(case: Case, backend: str) -> None:
    for native in (False, True):
        for mask in _masks(case, backend, native):
            chance = 1 - case.settings["p"]
            _check_count(backend, "the number kept", int(mask.sum()), mask.size, chance)


@law("dropout", "two calls are independent", draws=drawn, needs_tensors=True)
def calls_are_independent(case: Case, backend: str) -> None:
    chance = case.settings["p"] ** 2 + (1 - case.settings["p"]) ** 2
    for native in (False, True):
        one, two = _masks(case, backend, native)
        _check_count(backend, "the number alike", int((one == two).sum()), one.size, chance)
