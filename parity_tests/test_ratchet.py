"""No error grows: on the worst case known of it, a backend errs as little as was recorded."""

from __future__ import annotations

from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.checks import check
from twingrad.parity_tests.judge.options import options
from twingrad.parity_tests.judge.witnesses import Witness, witnesses


def hold(found: list[Witness]) -> None:
    for one in found:
        recorded = {
            what: {name: share for name, share in shares.items() if name in options().backends}
            for what, shares in one.recorded.items()
        }
        check(one.case, recorded)


def test_a_layer_errs_no_more_than_recorded(spec: LayerSpec, dtype: str) -> None:
    hold(witnesses(spec.name, dtype))


def test_an_optimizer_errs_no_more_than_recorded(optimizer: OptimizerSpec, dtype: str) -> None:
    hold(witnesses(optimizer.name, dtype))
