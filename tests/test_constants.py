"""What is frozen of each layer: complete, never raised by a command, a ratchet on each backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.core.catalogue import LAYERS, OPTIMIZERS, everything
from twingrad.core.operations import OPERATIONS
from twingrad.parity_tests.judge import constants, frozen, witnesses
from twingrad.parity_tests.judge.bounds import bounds, derived
from twingrad.parity_tests.judge.case import Case, Walk
from twingrad.parity_tests.judge.checks import Disagreement, check_gradient
from twingrad.parity_tests.judge.frozen import Frozen, Measured, Witness, that_counts
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.runs import replay

DTYPES = ("float32", "float64")
HERE, ELSEWHERE = frozen.processor(), "another processor"


def rows(ratio: float, backend: str = "numpy") -> list[dict[str, Any]]:
    """Return what a calibration would have measured of one tensor."""
    entry = {"layer": "tanh", "what": "y", "dtype": "float32", "backend": backend}
    return [entry | {"ratio": ratio, "cases": 3}]


def of_one_tensor(c: float, **observed: dict[str, float]) -> Frozen:
    """Return what is frozen of one tensor, with what was observed `here` and `elsewhere`."""
    names = {"here": HERE, "elsewhere": ELSEWHERE}
    return Frozen(
        {"y": {"float32": c}},
        {
            names[where]: Measured({}, {"y": {"float32": shares}})
            for where, shares in observed.items()
        },
    )


def test_every_tensor_of_every_layer_has_its_constant() -> None:
    for name, spec in (LAYERS | OPERATIONS).items():
        known = frozen.frozen(name)
        for what in ("y", *(f"grad_{key}" for key in spec.differentiable)):
            for dtype in DTYPES:
                assert 0 < known.constants[what][dtype] <= 1
                observed = known.observed(what, dtype)
                assert observed.keys() == {"numpy", "torch"}
                assert max(observed.values()) <= known.constants[what][dtype]
    for name in OPTIMIZERS:
        assert frozen.frozen(name).constants["weight"].keys() == set(DTYPES)


def test_every_record_is_of_something() -> None:
    assert {file.stem for file in frozen.RECORDS.glob("*.json")} == {*everything()}


def test_a_bound_is_its_constants_share_of_what_rounding_explains() -> None:
    case = Case(LAYERS["tanh"], {"x": np.linspace(-2, 2, 5)}, {}, np.ones(5))
    c = constants.constant("tanh", "grad_x", "float64")
    np.testing.assert_allclose(bounds(case)["grad_x"], c * derived(case)["grad_x"], rtol=1e-15)


def test_a_calibration_adds_constants_but_changes_none() -> None:
    before = of_one_tensor(0.4, here={"numpy": 0.1})
    for ratio, observed, complaints in ((0.05, 0.1, 0), (0.2, 0.2, 0), (0.3, 0.3, 1)):
        after, raised = constants.calibrated(before, rows(ratio), {})
        assert after.constants == before.constants
        assert after.observed("y", "float32") == {"numpy": observed}
        assert len(raised) == complaints
    assert before == of_one_tensor(0.4, here={"numpy": 0.1})
    other, _ = constants.calibrated(before, rows(0.03, backend="torch"), {})
    assert other.observed("y", "float32") == {"numpy": 0.1, "torch": 0.03}
    new, _ = constants.calibrated(Frozen(), rows(0.05), {"seed": 7})
    assert new.constants == {"y": {"float32": 0.2}}
    assert new.processors[HERE].how == {"seed": 7, "cases": 3}


def test_a_calibration_leaves_what_other_processors_measured() -> None:
    before = of_one_tensor(0.4, elsewhere={"numpy": 0.3})
    after, raised = constants.calibrated(before, rows(0.1), {})
    assert after.processors[ELSEWHERE] == before.processors[ELSEWHERE]
    assert after.observed("y", "float32") == {"numpy": 0.1}
    # A constant holds on all of them.
    assert raised == ["y float32: c is 0.4, and 0.3 was measured"]


def test_what_was_seen_here_counts_and_elsewhere_the_most_of_all() -> None:
    assert that_counts({HERE: {"numpy": 0.1}, "a": {"numpy": 0.3}}) == {"numpy": 0.1}
    assert that_counts({"a": {"numpy": 0.2}, "b": {"numpy": 0.3}}) == {"numpy": 0.3}
    assert that_counts({HERE: {"torch": 0.1}, "b": {"numpy": 0.3}}) == {"torch": 0.1, "numpy": 0.3}


@pytest.mark.parametrize("name", ["tanh", "attention", "adamw"])
def test_what_is_written_is_what_is_read(name: str, tmp_path: Path) -> None:
    shipped = frozen.file_of(name)
    assert shipped is not None
    file = tmp_path / shipped.name
    frozen.write(frozen.frozen(name), file)
    assert file.read_bytes() == shipped.read_bytes()


def test_a_layer_of_which_nothing_is_recorded_has_its_derived_bound() -> None:
    assert constants.constant("nothing_of_the_kind", "y", "float32") == 1
    assert witnesses.witnesses("nothing_of_the_kind", "float32") == []


def test_a_kernel_that_gets_worse_is_caught_inside_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that no bound forbids, but that is more than 1.5 times the recorded one."""
    honest, session = KERNELS["tanh"], Session()
    c = constants.constant("tanh", "grad_x", "float32")
    recorded = c / 2
    x = np.full(3, 3.0, np.float32)  # where the gradient is small beside what the bound is made of
    case = Case(LAYERS["tanh"], {"x": x}, {}, np.ones(3, np.float32))
    error = (0.8 * c * derived(case)["grad_x"]).astype(np.float32)

    def backward(grad_y: Any, saved: Any) -> tuple[Any, ...]:
        (grad_x,) = honest.backward(grad_y, saved)
        assert grad_x is not None
        return (grad_x + error,)

    check_gradient(case, session, {"grad_x": {"numpy": recorded}})
    monkeypatch.setitem(KERNELS, "tanh", honest._replace(backward=backward))
    with pytest.raises(Disagreement, match="less accurate than recorded on numpy") as caught:
        check_gradient(case, session, {"grad_x": {"numpy": recorded}})
    assert caught.value.finding.wrong == []
    assert caught.value.finding.worse == ["numpy"]


def test_every_layer_and_optimizer_that_rounds_has_its_witnesses() -> None:
    def rounds(known: Frozen) -> bool:
        return any(
            max(known.observed(what, dtype).values())
            for what, by_dtype in known.constants.items()
            for dtype in by_dtype
        )

    records = {name: frozen.frozen(name) for name in everything()}
    assert {name for name, known in records.items() if known.witnesses} == {
        name for name, known in records.items() if rounds(known)
    }


def test_a_calibration_adds_witnesses_and_lowers_what_they_recorded() -> None:
    def row(case: Case | Walk, ratio: float, **key: str) -> dict[str, Any]:
        law = "test_outputs_are_within_their_bound"
        entry = {"layer": "tanh", "what": "y", "dtype": "float64", "law": law, "ratio": ratio}
        return entry | {"witness": replay.written(case)} | key

    cases = [Case(LAYERS["tanh"], {"x": np.full(1, x)}, {}, np.ones(1)) for x in (1.0, 2.0, 3.0)]
    rows = [row(cases[0], 0.1, backend="numpy"), row(cases[1], 0.2, backend="numpy")]
    rows += [row(cases[1], 0.2, backend="torch")]
    (found,) = witnesses.extended([], rows)
    assert found.here == {"y": {"numpy": 1.0, "torch": 1.0}}
    assert repr(found.case) == repr(cases[1])
    (found,) = witnesses.lowered([found], [[{"y": {"numpy": 0.2, "torch": 0.1}}]] * 2)
    assert found.here == {"y": {"numpy": 0.2, "torch": 0.1}}
    assert witnesses.extended([found], [row(cases[2], 0.3, backend="torch")]) == [found]
    elsewhere = {ELSEWHERE: {"y": {"numpy": 0.05}}}
    found = Witness(found.case, {**found.recorded, **elsewhere})
    assert witnesses.lowered([found], [[{"y": {"numpy": 0.9, "torch": 0.01}}]]) == [
        Witness(found.case, {HERE: {"y": {"numpy": 0.2, "torch": 0.01}}, **elsewhere})
    ]
