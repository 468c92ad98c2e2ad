"""No error grows: on the worst case known of it, a backend errs as little as was recorded."""

from __future__ import annotations

from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.checks import check
from twingrad.parity_tests.judge.frozen import Witness
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.witnesses import witnesses


def hold(found: list[Witness], session: Session) -> None:
    for one in found:
        recorded = {
            what: {name: share for name, share in shares.items() if name in session.backends}
            for what, shares in one.here.items()
        }
        check(one.case, session, recorded)


def test_a_layer_errs_no_more_than_recorded(spec: LayerSpec, dtype: str, session: Session) -> None:
    hold(witnesses(spec.name, dtype), session)


def test_an_optimizer_errs_no_more_than_recorded(
    optimizer: OptimizerSpec, dtype: str, session: Session
) -> None:
    hold(witnesses(optimizer.name, dtype), session)
