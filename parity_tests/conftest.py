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

from twingrad.core.catalogue import LAYERS, OPTIMIZERS, everything
from twingrad.core.command_options import made, options_of
from twingrad.core.errors import BackendError, TwingradError
from twingrad.core.foreign import supports
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import backends
from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.parity_tests.judge.checks import Disagreement
from twingrad.parity_tests.judge.options import DTYPES, FAILURES, FLAGS_OF_PYTEST, Options
from twingrad.parity_tests.judge.session import Session
from twingrad.parity_tests.laws.table import laws_of
from twingrad.parity_tests.runs import replay

SESSION = pytest.StashKey[Session]()
FAILED = pytest.StashKey[set[str | None]]()  # the layers that have broken a law in this process
OURS = ("numpy", "torch")
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
    for one in options_of(Options):
        if one.field in FLAGS_OF_PYTEST:
            continue
        how: dict[str, Any] = {"action": "store_true"} if one.type is bool else {"type": one.type}
        group.addoption(one.flag, help=one.spelling.help, default=None, **how)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "about(*names): the layers of a law that is not run for every spec"
    )
    config.addinivalue_line("markers", "ours: of our own kernels or oracles, and no other backend")
    config.addinivalue_line("markers", "share(n): the law takes one in n of a run's examples")
    given = {
        one.field: config.getoption(one.flag)
        for one in options_of(Options)
        if one.field not in FLAGS_OF_PYTEST
    } | {"seed": _seed(config)}
    try:
        chosen = made(Options, given)
        # A missing backend is an error here: a law that is skipped proves nothing.
        backends()  # refuses a backend that takes the name of another
        session = config.stash[SESSION] = Session(chosen)
        assert session.backends
    except TwingradError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[FAILED] = set()
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


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest) -> Session:
    """Return what this run was asked for, and its record."""
    return request.config.stash[SESSION]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Shrink one counterexample for each layer, not one for each law that the layer breaks.

    Shrinking takes up to minutes, and a layer that is wrong breaks many laws.
    """
    law: Any = getattr(item, "obj", None)
    if hypothesis.is_hypothesis_test(law):
        own = law._hypothesis_internal_use_settings
        phases = set(own.phases)
        if _subject(item) in item.config.stash[FAILED]:
            phases -= {hypothesis.Phase.shrink, hypothesis.Phase.explain}
        share = item.get_closest_marker("share")
        examples = own.max_examples
        if share is not None:
            examples = max(item.config.stash[SESSION].options.examples // share.args[0], 1)
        law._hypothesis_internal_use_settings = hypothesis.settings(
            own, phases=tuple(phases), max_examples=examples
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    session = metafunc.config.stash[SESSION]
    if "sentence" in metafunc.fixturenames:
        _for_each_property(metafunc, session)
        return
    takes_dtype = "dtype" in metafunc.fixturenames
    for argument, specs in (
        ("spec", {**LAYERS, **OPERATIONS}),
        ("layer", LAYERS),
        ("optimizer", OPTIMIZERS),
    ):
        if argument not in metafunc.fixturenames:
            continue
        named: dict[str, Any] = dict(specs)
        pairs = [
            (spec, dtype)
            for name, spec in named.items()
            if session.options.wants(name)
            for dtype in (session.options.dtypes if takes_dtype else ("float64",))
            if _is_supported(session, dtype, name)
        ]
        if takes_dtype:
            ids = [f"{spec.name}-{dtype}" for spec, dtype in pairs]
            metafunc.parametrize((argument, "dtype"), pairs, ids=ids)
        else:
            metafunc.parametrize(argument, [spec for spec, _ in pairs], ids=lambda spec: spec.name)
        return
    if takes_dtype:
        metafunc.parametrize("dtype", session.options.dtypes)


def _for_each_property(metafunc: pytest.Metafunc, session: Session) -> None:
    """One test for each law of the pages in laws/, and each dtype that it is about."""
    metafunc.parametrize(
        ("subject", "sentence", "in_dtype"),
        [
            pytest.param(
                subject,
                sentence,
                dtype,
                id=f"{name}-{sentence}-{dtype}",
                marks=pytest.mark.about(name),
            )
            for name, subject in everything().items()
            if session.options.wants(name)
            for sentence, law in laws_of(subject).items()
            for dtype in law.dtypes or DTYPES
            if dtype in session.options.dtypes and _is_supported(session, dtype, name, *law.uses)
        ],
    )


def _is_supported(session: Session, dtype: str, *names: str) -> bool:
    return all(
        supports(backend, name, dtype) for backend in session.backends.values() for name in names
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what this run is about: the layers asked for, and what the backend can be asked."""
    kept = [item for item in items if _is_wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _is_wanted(item: pytest.Item) -> bool:
    session = item.config.stash[SESSION]
    chosen = session.options
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
        return any(map(chosen.wants, names)) and _is_supported(session, "float64", *names)
    if spec is None:
        return not chosen.layers and not is_foreign
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        session = item.config.stash[SESSION]
        rows = session.record.drain(session.options.calibrating)
        if report.failed:
            item.config.stash[FAILED].add(_subject(item))
        error = call.excinfo.value if call.excinfo else None
        found = [_finding(one, session.options) for one in disagreements(error)]
        for entry in found:
            report.sections.append(("run this case again", entry["replay"]))
        # What a backend returned in a wrong form is told once for each layer, as a wrong number is.
        backend = session.options.backend
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


def _finding(disagreement: Disagreement, options: Options) -> dict[str, Any]:
    """Return a disagreement as data, its case written to a file that can be run again."""
    finding = disagreement.finding
    text = str(disagreement)
    path = replay.save(finding.source, FAILURES, text.splitlines()[0])
    again = options.replay_command(path, finding.subject)
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
