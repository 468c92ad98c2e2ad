"""The laws themselves: a fault that is planted in a kernel makes them fail, on the right side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS, Kernel
from twingrad.core.catalogue import spec_of
from twingrad.core.optimizers.adamw import SPEC as ADAMW
from twingrad.core.spec import Array, Arrays, LayerSpec
from twingrad.parity_tests.faults.distortions import (
    DISTORTIONS,
    distorted_gradient,
    distorted_output,
)
from twingrad.parity_tests.faults.table import well_known
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import Disagreement, check_forward, check_gradient
from twingrad.parity_tests.judge.recurrence import Recurrence
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import cases, large_cases

EXAMPLES = 100  # more than a law's own, since a fault may need a rare setting to show


def caught(
    check: Callable[[Case, Session], None], spec: LayerSpec, session: Session
) -> Disagreement:
    """Return the first disagreement that the check finds, without shrinking it."""
    apart = session.apart()

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        database=None,
        derandomize=True,
    )
    @given(st.one_of(large_cases(spec, "float64"), cases(spec, "float64", min_length=1)))
    def law(case: Case) -> None:
        check(case, apart)

    with pytest.raises(Disagreement) as found:
        law()
    return found.value


def assert_numpy_is_blamed(disagreement: Disagreement, what: str) -> None:
    finding = disagreement.finding
    assert finding.what == what
    assert finding.wrong == ["numpy"]
    assert "right on torch" in str(disagreement)


def plant(monkeypatch: pytest.MonkeyPatch, name: str, kernel: Kernel) -> None:
    monkeypatch.setitem(KERNELS, name, kernel)


@pytest.mark.parametrize("fault", DISTORTIONS)
def test_a_distorted_output_is_caught(
    spec: LayerSpec, fault: str, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    distorted = distorted_output(KERNELS[spec.name], DISTORTIONS[fault])
    plant(monkeypatch, spec.name, distorted)
    assert_numpy_is_blamed(caught(check_forward, spec, session), "y")


@pytest.mark.parametrize("fault", DISTORTIONS)
def test_a_distorted_gradient_is_caught(
    spec: LayerSpec, fault: str, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    """In the gradient of every input that has one, by itself."""
    honest = KERNELS[spec.name]
    for position, name in enumerate(spec.inputs):
        if name in spec.differentiable:
            distort = DISTORTIONS[fault]
            plant(monkeypatch, spec.name, distorted_gradient(honest, position, distort))
            assert_numpy_is_blamed(caught(check_gradient, spec, session), f"grad_{name}")


@pytest.mark.parametrize("fault", well_known("layer"))
def test_a_well_known_fault_is_caught(fault: str, session: Session) -> None:
    wrong = well_known("layer")[fault]
    check = check_forward if wrong.which == "forward" else check_gradient
    with wrong.planted():
        assert caught(check, spec_of(wrong.of), session).finding.wrong == ["numpy"]


def leaves_the_path(step: Callable[..., tuple[str, ...]]) -> bool:
    """Whether three steps of an AdamW end beyond the recurrence's bound."""
    rng = np.random.default_rng(29)
    chosen = ADAMW.defaults() | {"eps": 1e-3}
    weight: Array = rng.standard_normal((3, 5))
    path = Recurrence(ADAMW, chosen, weight)
    state: Arrays = {name: np.zeros((3, 5)) for name in ADAMW.state}
    for _ in range(3):
        grad = rng.standard_normal((3, 5))
        path.step(grad)
        step(weight, grad, state, path.steps, **chosen)
    return bool(np.any(np.abs(weight - path.weight) > path.allowed))


@pytest.mark.parametrize("fault", well_known("optimizer"))
def test_a_faulty_adamw_leaves_the_path(fault: str) -> None:
    assert leaves_the_path(well_known("optimizer")[fault].wrong)


def test_the_honest_adamw_stays_on_the_path() -> None:
    """So that the test above fails for the fault, and not for the way it walks."""
    assert not leaves_the_path(OPTIMIZERS["adamw"])
