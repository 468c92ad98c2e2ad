"""Nothing is left out: every spec has its files, kernels and bound, and runs under every law."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import twingrad
from twingrad.backends.numpy_backend import kernels as numpy_kernels
from twingrad.backends.torch_backend import kernels as torch_kernels
from twingrad.core.catalogue import LAYERS, OPTIMIZERS, has_page, is_own
from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import LayerSpec, OptimizerSpec, Structural
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.judge.strategies import setting
from twingrad.parity_tests.laws.table import required, told

PACKAGE = Path(twingrad.__file__).parent
BACKENDS = ("numpy", "torch")
LAWS_ROOM = "twingrad.parity_tests.laws"
LAWS = (
    "forward",
    "gradient",
    "numeric_gradient",
    "structure",
    "layouts",
    "classes",
    "oracles",
    "planted_faults",
)


def arguments(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def rooms(name: str, kind: str) -> list[str]:
    """Return the rooms in which a layer or an optimizer has no page, ours under its own name."""
    places = {f"twingrad.core.{kind}": "core", LAWS_ROOM: "laws"} | {
        f"twingrad.backends.{backend}_backend": backend for backend in BACKENDS
    }
    if is_own(name):
        return [place for place in places if find_spec(f"{place}.{name}") is None]
    return [
        room
        for place, room in places.items()
        if not (room == "core" or has_page(name, room, place))
    ]


def test_a_layer_has_one_name_in_every_room(layer: LayerSpec) -> None:
    assert not rooms(layer.name, "layers")


def test_an_optimizer_has_one_name_in_every_room(optimizer: OptimizerSpec) -> None:
    assert not rooms(optimizer.name, "optimizers")


def test_every_spec_is_complete(spec: LayerSpec) -> None:
    assert spec.formula
    assert spec.inputs
    assert spec.output
    assert spec.source
    known = set(spec.inputs)
    for names in (spec.optional, spec.broadcast, spec.booleans, spec.constants, spec.labels):
        assert set(names) <= known
    assert set(spec.indices) <= known
    assert spec.differentiable


def test_every_argument_stands_in_the_order_of_the_spec(layer: LayerSpec) -> None:
    expected = [*layer.inputs, *layer.settings]
    assert arguments(layer.definition) == expected
    assert arguments(numpy_kernels.KERNELS[layer.name].forward) == expected
    assert arguments(torch_kernels.KERNELS[layer.name]) == expected


def test_defaults_are_said_once(layer: LayerSpec) -> None:
    """Where a kernel or a definition repeats a default, it is the spec's."""
    for function in (
        layer.definition,
        numpy_kernels.KERNELS[layer.name].forward,
        torch_kernels.KERNELS[layer.name],
    ):
        for name, parameter in inspect.signature(function).parameters.items():
            if name in layer.settings and parameter.default is not inspect.Parameter.empty:
                assert parameter.default == layer.settings[name].default, name


def test_every_default_is_valid(spec: LayerSpec) -> None:
    for name, one in spec.settings.items():
        assert one.accepts(one.default), name
        assert one.valid


def test_every_layer_and_operation_has_kernels(spec: LayerSpec) -> None:
    """Read off its pages, by the same names on each of them."""
    kernel = numpy_kernels.KERNELS[spec.name]
    assert callable(kernel.forward)
    assert callable(kernel.backward)
    assert callable(torch_kernels.KERNELS[spec.name])


def test_every_optimizer_has_a_step(optimizer: OptimizerSpec) -> None:
    assert callable(numpy_kernels.OPTIMIZERS[optimizer.name])
    assert callable(torch_kernels.OPTIMIZERS[optimizer.name])


def test_the_tables_hold_the_same_names() -> None:
    assert all(callable(required(name, "bound")) for name in (*LAYERS, *OPERATIONS))
    assert all(callable(required(name, "size")) for name in OPTIMIZERS)
    tables: list[dict[str, Any]] = [LAYERS, OPERATIONS, OPTIMIZERS]
    for table in tables:
        assert list(table) == [spec.name for spec in table.values()]


def test_every_file_of_a_backend_is_in_the_other() -> None:
    """But for what only one of them needs: a tape, sums and threads, or torch's modules."""
    tape, rest = (
        {"tape.py", "dispatch.py", "recompute.py", "tensor.py"},
        {"module.py", "ordinary.py"},
    )
    own = tape | rest | {"sums.py", "normal.py", "blocks.py", "flat.py"}
    files = [
        {path.name for path in (PACKAGE / "backends" / f"{b}_backend").glob("*.py")} - own
        for b in BACKENDS
    ]
    assert files[0] == files[1]


def test_every_setting_can_be_drawn(spec: LayerSpec) -> None:
    """By its page, or from its range; where elements go, the page must say how."""
    for name, one in spec.settings.items():
        if isinstance(one, Structural):
            assert told(spec.name, "calls"), name
        else:
            setting(spec, name)


@pytest.mark.parametrize("law", LAWS)
def test_every_spec_runs_under_every_law(
    law: str, request: pytest.FixtureRequest, session: Session
) -> None:
    """Counted in what pytest collected, so that no table can be shortened unseen."""
    collected = {
        getattr(item.callspec.params["spec"], "name", None)
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path.name == f"test_{law}.py"
        and hasattr(item, "callspec")
        and "spec" in item.callspec.params
    }
    if collected:  # else this run was asked for other files
        assert collected == set(filter(session.options.wants, (*LAYERS, *OPERATIONS)))


def test_two_backends_are_compared(session: Session) -> None:
    assert len(session.options.backends) == 2


def test_no_law_is_skipped() -> None:
    """Only the deviations of torch itself are expected to fail, and must."""
    words = ("skip", "importorskip", "xfail")
    for path in Path(__file__).parent.rglob("*.py"):
        if path not in (Path(__file__), Path(__file__).parent / "test_findings.py"):
            text = path.read_text(encoding="utf-8")
            assert not [
                word for word in words if f"pytest.{word}" in text or f"mark.{word}" in text
            ], path


def test_no_tolerance_is_written_by_hand() -> None:
    words = ("rto" + "l", "ato" + "l", "appro" + "x(", "isclos" + "e", "allclos" + "e")
    for path in Path(__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], path
