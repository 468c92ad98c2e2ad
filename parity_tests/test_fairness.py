"""The backend under test is not needlessly worse than the one beside it, even inside the bounds.

Each has its distance from the definition, e = |q - q*|, taken in units of the element's bound, so
that elements of all sizes and conditions count alike. Over all cases of a layer and dtype, for y
and for each gradient,

    max(e of the tested) <= 2 max(e of the reference) + max(noise)
    rms(e of the tested) <= 2 rms(e of the reference) + rms(noise)

where noise = 2 v |q*| is what the definition itself may be off: v is the unit roundoff of the
precision that it is computed in (float64 for float32, longdouble for float64). This is the rule of
the tests of FlashAttention (Dao et al. 2022, arXiv:2205.14135). The reverse is not asked: a tested
backend may be as good as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.catalogue import LAYERS
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, LayerSpec
from twingrad.parity_tests.faults.distortions import DISTORTIONS, distorted_output
from twingrad.parity_tests.judge import oracle
from twingrad.parity_tests.judge.bounds import bounds
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import gradients
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import large_cases

CASES = 30  # drawn once and for all: the gate compares maxima, which a few cases leave to chance
SAMPLES = 16  # elements of each input whose gradient the oracle is asked for, one by one
FACTOR = 2  # how much worse is still fair
ENOUGH = 1000  # elements, for the largest of their errors to be compared

Errors = dict[str, list[Array]]  # of y and each gradient, in units of the bound, case by case


class Measured:
    """The errors of each backend over all cases, and the definition's own."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.of: dict[str, Errors] = {name: {} for name in (*options.backends, "noise")}

    def add(self, case: Case) -> None:
        """Measure one case."""
        allowed = bounds(case)
        computed = {
            name: load_backend(name).forward(case.spec, dict(case.inputs), case.settings)
            for name in self.options.backends
        }
        everywhere = np.argwhere(np.ones(case.grad_y.shape, bool))
        self._add(case, "y", computed, everywhere, oracle.output(case).reshape(-1), allowed["y"])
        grads = {name: gradients(name, case) for name in self.options.backends}
        for name in grads[self.options.backend]:
            indices, expected = _gradient(case, name)
            of_backends = {backend: found[name] for backend, found in grads.items()}
            what = f"grad_{name}"
            self._add(case, what, of_backends, indices, expected, allowed[what])

    def _add(
        self,
        case: Case,
        what: str,
        computed: dict[str, Array],
        indices: Array,
        expected: Array,
        allowed: Array,
    ) -> None:
        where = tuple(indices.T)
        room = np.broadcast_to(allowed, computed[self.options.backend].shape)[where].reshape(-1)
        wide = np.finfo(oracle.precise(case.dtype)).eps
        errors = {"noise": wide * np.abs(expected)}  # eps is 2 v
        for name, array in computed.items():
            errors[name] = np.abs(array[where].reshape(-1).astype(expected.dtype) - expected)
        # Where nothing is rounded there is no bound to measure in, and every error is infinite.
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, error in errors.items():
                share = np.where((error == 0) | (name == "noise") & (room == 0), 0, error / room)
                self.of[name].setdefault(what, []).append(share.astype(np.float64))

    def unfair(self) -> list[str]:
        """Return in words where the tested backend is worse than the gate allows."""
        found = []
        for what in self.of["noise"]:
            pooled = {name: np.concatenate(errors[what]) for name, errors in self.of.items()}
            # The largest of a few errors is luck: which BLAS kernel ran decides it.
            is_many = pooled["noise"].size >= ENOUGH
            for word, measure in (("max", _max), ("rms", _rms))[not is_many :]:
                ours, theirs, noise = (
                    measure(pooled[name]) for name in (*self.options.backends, "noise")
                )
                if not ours <= FACTOR * theirs + noise:
                    found.append(
                        f"{what}: {word} error of {self.options.backend} is {ours:.3g} of the "
                        f"bound, that of {self.options.reference} {theirs:.3g}, "
                        f"over {pooled['noise'].size}"
                    )
        return found


def _max(errors: Array) -> float:
    return float(np.max(errors, initial=0))


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(np.square(errors)))) if errors.size else 0.0


def _gradient(case: Case, name: str) -> tuple[Array, Array]:
    """Return indices and the gradient there: of a sample, unless one step gives all of them."""
    spec, shape = case.spec, case.inputs[name].shape
    if spec.output == "..." and {*spec.inputs.values()} == {"..."} and not spec.broadcast:
        return oracle.gradients(case)[name]
    everywhere = np.argwhere(np.ones(shape, bool))
    rng = np.random.default_rng(case.grad_y.size)
    chosen = rng.permutation(len(everywhere))[:SAMPLES]
    return everywhere[chosen], oracle.gradient_at(case, name, everywhere[chosen])


def measure(spec: LayerSpec, dtype: str, session: Session) -> Measured:
    """Measure the same large cases in every run."""
    measured = Measured(session.options)

    @settings(
        max_examples=CASES,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(large_cases(spec, dtype))
    def over_all(case: Case) -> None:
        measured.add(case)

    over_all()
    return measured


def test_no_backend_is_needlessly_inaccurate(spec: LayerSpec, dtype: str, session: Session) -> None:
    unfair = measure(spec, dtype, session).unfair()
    assert not unfair, "\n".join([f"{spec.name} ({dtype})", *unfair])


@pytest.mark.about("sum")
@pytest.mark.parametrize("axis", [0, 1])
def test_long_sums_are_no_less_accurate(axis: int, dtype: str, session: Session) -> None:
    """Ten thousand terms of one sign, whichever axis they lie along.

    Added one after the other they are off by their number; in pairs or in runs by its logarithm.
    """
    measured = Measured(session.options)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = (30 + rng.standard_normal((10_000, 20))).astype(dtype)
        x = x if axis == 0 else x.T.copy()
        settings_of_sum = {"axis": axis, "keepdim": False}
        grad_y = rng.standard_normal(20).astype(dtype)
        measured.add(Case(OPERATIONS["sum"], {"x": x}, settings_of_sum, grad_y))
    assert not measured.unfair(), "\n".join([f"sum ({dtype})", *measured.unfair()])


def _three_ulp(x: Array) -> Array:
    """Inside most bounds, and yet no way to compute anything."""
    factor: Any = x.dtype.type(1 + 3 * np.finfo(x.dtype).eps)
    return np.asarray(x * factor)


@pytest.mark.parametrize("name", ["tanh", "softmax", "layer_norm"])
@pytest.mark.parametrize("distort", [_three_ulp, DISTORTIONS["0.0001 % too large"]])
def test_a_needless_error_is_seen(
    name: str,
    distort: Callable[[Array], Array],
    monkeypatch: pytest.MonkeyPatch,
    session: Session,
) -> None:
    """Planted in y alone, so y alone is reported."""
    monkeypatch.setitem(KERNELS, name, distorted_output(KERNELS[name], distort))
    unfair = measure(LAYERS[name], "float64", session).unfair()
    assert unfair
    assert all(line.startswith("y: ") for line in unfair)
