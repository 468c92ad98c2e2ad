"""Options, profiles and parametrization of the laws: every law runs for every spec and dtype."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis.database import DirectoryBasedExampleDatabase

from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.errors import BackendError, TwingradError
from twingrad.core.foreign import supports
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import backends, load_backend
from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge import options
from twingrad.parity_tests.judge.checks import Disagreement
from twingrad.parity_tests.judge.record import RECORD
from twingrad.parity_tests.runs import replay

OURS = ("numpy", "torch")
FAILED: set[str | None] = set()  # the layers that have broken a law in this process
# The laws that ask nothing of a backend but layers and optimizers: those for other people's.
FOR_ANY_BACKEND = (
    "test_forward",
    "test_gradient",
    "test_numeric_gradient",
    "test_structure",
    "test_layouts",
    "test_stability",
    "test_error_parity",
    "test_properties",
    "test_exact",
    "test_optimizer_trajectory",
    "test_ratchet",
)
EXAMPLES_KEPT = Path(".hypothesis") / "twingrad"  # what failed before


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("twingrad")
    defaults = options.Options()
    group.addoption("--layers", default="", help="only these layers, separated by commas")
    group.addoption("--dtype", default=",".join(defaults.dtypes), help="only these dtypes")
    group.addoption("--profile", default=None, help=f"one of {', '.join(options.PROFILES)}")
    group.addoption("--examples", type=int, help="cases for each law; default: the profile's")
    group.addoption("--backend", default=defaults.backend, help="the backend under test")
    group.addoption("--reference", default=None, help="the backend beside it")
    group.addoption("--calibrating", action="store_true", help="keep the worst cases whole")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "about(*names): the layers of a law that is not run for every spec"
    )
    config.addinivalue_line("markers", "ours: of our own kernels or oracles, and no other backend")
    try:
        profile = options.parse_profile(config.getoption("--profile") or options.default_profile())
        backend = config.getoption("--backend")
        chosen = options.Options(
            options.parse_layers(config.getoption("--layers")),
            options.parse_dtypes(config.getoption("--dtype")),
            config.getoption("--examples") or options.PROFILES[profile],
            _seed(config),
            backend,
            config.getoption("--reference") or ("numpy" if backend == "torch" else "torch"),
            profile,
            config.getoption("--calibrating"),
        )
        # A missing backend is an error here: a law that is skipped proves nothing.
        backends()  # refuses a backend that takes the name of another
        for name in chosen.backends:
            load_backend(name)
    except TwingradError as error:
        raise pytest.UsageError(str(error)) from None
    options.use(chosen)
    if "OMP_NUM_THREADS" not in os.environ and "torch" in chosen.backends:
        # A core for each worker; and how torch cuts its sums hangs on the number of threads.
        torch.set_num_threads(1)
    # A run in CI, and one with a seed, remembers nothing: the first explores anew each time, the
    # second promises the same cases. (Hypothesis's own profile for CI draws the same for ever.) The
    # others try first what failed before, kept for each law, layer and dtype by itself.
    remembers = chosen.profile != "ci" and chosen.seed is None
    hypothesis.settings.register_profile(
        "twingrad",
        deadline=None,  # the first torch call in a process can take longer than any
        max_examples=chosen.examples,
        derandomize=False,
        print_blob=False,
        database=DirectoryBasedExampleDatabase(EXAMPLES_KEPT) if remembers else None,
        suppress_health_check=[
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
        ],
    )
    hypothesis.settings.load_profile("twingrad")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Shrink one counterexample for each layer, not one for each law that the layer breaks.

    Shrinking takes up to minutes, and a layer that is wrong breaks many laws.
    """
    law: Any = getattr(item, "obj", None)
    if hypothesis.is_hypothesis_test(law):
        own = law._hypothesis_internal_use_settings
        phases = set(own.phases)
        if _subject(item) in FAILED:
            phases -= {hypothesis.Phase.shrink, hypothesis.Phase.explain}
        law._hypothesis_internal_use_settings = hypothesis.settings(own, phases=tuple(phases))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = options.options()
    takes_dtype = "dtype" in metafunc.fixturenames
    for argument, specs in (
        ("spec", LAYERS | OPERATIONS),
        ("layer", LAYERS),
        ("optimizer", OPTIMIZERS),
    ):
        if argument not in metafunc.fixturenames:
            continue
        named: dict[str, Any] = dict(specs)
        pairs = [
            (spec, dtype)
            for name, spec in named.items()
            if not chosen.layers or name in chosen.layers
            for dtype in (chosen.dtypes if takes_dtype else ("float64",))
            if _is_supported(name, dtype)
        ]
        if takes_dtype:
            ids = [f"{spec.name}-{dtype}" for spec, dtype in pairs]
            metafunc.parametrize((argument, "dtype"), pairs, ids=ids)
        else:
            metafunc.parametrize(argument, [spec for spec, _ in pairs], ids=lambda spec: spec.name)
        return
    if takes_dtype:
        metafunc.parametrize("dtype", chosen.dtypes)


def _is_supported(name: str, dtype: str) -> bool:
    return all(supports(load_backend(b), name, dtype) for b in options.options().backends)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what this run is about: the layers asked for, and what the backend can be asked."""
    kept = [item for item in items if _is_wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _is_wanted(item: pytest.Item) -> bool:
    chosen = options.options()
    if Path(__file__).resolve().parent not in item.path.resolve().parents:
        return not chosen.layers
    is_foreign = not set(chosen.backends) <= set(OURS)
    if is_foreign and (item.path.stem not in FOR_ANY_BACKEND or item.get_closest_marker("ours")):
        return False
    if is_foreign and _has_no_spec(item):
        return False
    names = _names(item)
    spec = _spec_of(item)
    if spec is None and names:
        wanted = not chosen.layers or bool(set(names) & set(chosen.layers))
        return wanted and all(_is_supported(name, "float64") for name in names)
    if spec is None:
        return not chosen.layers and not is_foreign
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        rows = RECORD.drain()
        if report.failed:
            FAILED.add(_subject(item))
        error = call.excinfo.value if call.excinfo else None
        found = [_finding(one) for one in disagreements(error)]
        for entry in found:
            report.sections.append(("run this case again", entry["replay"]))
        # What a backend returned in a wrong form is told once for each layer, as a wrong number is.
        backend = options.options().backend
        found += [
            {"text": str(one), "replay": "", "tensor": "", "wrong": [backend], "worse": []}
            for one in _leaves(error)
            if isinstance(one, BackendError) and str(one).startswith(f"backend {backend!r}: ")
        ]
        entry = {
            "law": item.originalname if isinstance(item, pytest.Function) else item.name,
            "file": item.path.stem,
            "layer": _subject(item),
            "dtype": _dtype_of(item),
            "rows": rows,
            "findings": found,
        }
        report.user_properties.append(("twingrad", json.dumps(entry)))
    return report


def _finding(disagreement: Disagreement) -> dict[str, Any]:
    """Return a disagreement as data, its case written to a file that can be run again."""
    finding = disagreement.finding
    text = str(disagreement)
    path = replay.save(finding.source, options.FAILURES, text.splitlines()[0])
    again = f"twingrad parity --replay {path}"
    text = f"{text}\n or: {again}"
    sides = {"wrong": finding.wrong, "worse": finding.worse}
    return {"text": text, "replay": again, "tensor": finding.what} | sides


def _has_no_spec(item: pytest.Item) -> bool:
    """Whether a law was to run for each spec, and the backend supports none of them."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    names = [part.strip() for name in params for part in name.split(",")]
    return bool({"spec", "layer", "optimizer"} & {*names}) and _spec_of(item) is None


def _spec_of(item: pytest.Item) -> Any:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    found = (params.get(name) for name in ("spec", "layer", "optimizer", "subject"))
    return next((spec for spec in found if isinstance(spec, LayerSpec | OptimizerSpec)), None)


def _names(item: pytest.Item) -> list[str]:
    """Return the layers of a law that is not run for every spec."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    named = [params["name"]] if params.get("name") in {**LAYERS, **OPERATIONS} else []
    return [name for mark in item.iter_markers("about") for name in mark.args] + named


def _subject(item: pytest.Item) -> str | None:
    spec = _spec_of(item)
    return spec.name if spec else next(iter(_names(item)), None)


def _dtype_of(item: pytest.Item) -> str | None:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("dtype") or params.get("in_dtype")


def disagreements(error: BaseException | None) -> list[Disagreement]:
    """Return the disagreements in an error, which Hypothesis groups if there are several."""
    return [one for one in _leaves(error) if isinstance(one, Disagreement)]


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [found for inner in error.exceptions for found in _leaves(inner)]
    return [] if error is None else [error]


def _seed(config: pytest.Config) -> int | None:
    seed = config.getoption("--hypothesis-seed", None)
    return int(seed) if seed is not None and str(seed).isdigit() else None
