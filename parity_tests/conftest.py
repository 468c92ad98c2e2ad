"""Options, profiles and parametrization of the laws: every law runs for every spec and dtype."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
import torch

from twingrad.core.backend import load_backend
from twingrad.core.errors import TwingradError
from twingrad.core.layers import LAYERS
from twingrad.core.operations import OPERATIONS
from twingrad.core.optimizers import OPTIMIZERS
from twingrad.parity_tests import options
from twingrad.parity_tests.checks import Disagreement
from twingrad.parity_tests.record import RECORD


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("twingrad")
    defaults = options.Options()
    group.addoption("--layers", default="", help="only these layers, separated by commas")
    group.addoption("--dtype", default=",".join(defaults.dtypes), help="only these dtypes")
    group.addoption("--examples", type=int, default=defaults.examples, help="cases for each law")
    group.addoption("--backend", default=defaults.backend, help="the backend under test")
    group.addoption("--reference", default=defaults.reference, help="the backend beside it")


def pytest_configure(config: pytest.Config) -> None:
    try:
        chosen = options.Options(
            options.parse_layers(config.getoption("--layers")),
            options.parse_dtypes(config.getoption("--dtype")),
            config.getoption("--examples"),
            _seed(config),
            config.getoption("--backend"),
            config.getoption("--reference"),
        )
        # A missing backend is an error here: a law that is skipped proves nothing.
        for name in chosen.backends:
            load_backend(name)
    except TwingradError as error:
        raise pytest.UsageError(str(error)) from None
    options.use(chosen)
    if "PYTEST_XDIST_WORKER" in os.environ and "torch" in chosen.backends:
        torch.set_num_threads(1)  # a core for each worker, or their threads wait for each other
    # No deadline: the first torch call in a process can take longer than any.
    hypothesis.settings.register_profile(
        "twingrad",
        deadline=None,
        max_examples=chosen.examples,
        print_blob=False,
        suppress_health_check=[
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
        ],
        # A given seed promises the same cases, so nothing is remembered from other runs.
        **({"database": None} if chosen.seed is not None else {}),
    )
    hypothesis.settings.load_profile("twingrad")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = options.options().layers

    def chosen(specs: dict[str, Any]) -> list[Any]:
        return [spec for name, spec in specs.items() if not wanted or name in wanted]

    for argument, specs in (
        ("spec", LAYERS | OPERATIONS),
        ("layer", LAYERS),
        ("optimizer", OPTIMIZERS),
    ):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, chosen(specs), ids=lambda spec: spec.name)
    if "dtype" in metafunc.fixturenames:
        metafunc.parametrize("dtype", options.options().dtypes)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --layers, keep what is tried on a spec: the rest is not about those layers."""
    if options.options().layers:
        kept = [item for item in items if _spec_of(item) is not None]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        rows = RECORD.drain()
        spec = _spec_of(item)
        error = call.excinfo.value if call.excinfo else None
        findings = [
            {"text": str(found), "wrong": found.finding.wrong} for found in disagreements(error)
        ]
        entry = {"layer": getattr(spec, "name", None), "rows": rows, "findings": findings}
        report.user_properties.append(("twingrad", json.dumps(entry)))
    return report


def _spec_of(item: pytest.Item) -> Any:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("spec") or params.get("layer") or params.get("optimizer")


def disagreements(error: BaseException | None) -> list[Disagreement]:
    """Return the disagreements in an error, which Hypothesis groups if there are several."""
    if isinstance(error, BaseExceptionGroup):
        return [found for inner in error.exceptions for found in disagreements(inner)]
    return [error] if isinstance(error, Disagreement) else []


def _seed(config: pytest.Config) -> int | None:
    seed = config.getoption("--hypothesis-seed", None)
    return int(seed) if seed is not None and str(seed).isdigit() else None
