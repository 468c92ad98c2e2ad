"""`twingrad parity`: is what the backends compute right, and if not, which of them is wrong?"""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from twingrad.core.errors import INTERRUPTED, BackendError, SettingError
from twingrad.core.random import check_seed
from twingrad.core.registry import default_backend, load_backend
from twingrad.parity_tests.judge.options import (
    FAILURES,
    PROFILES,
    Options,
    default_profile,
    parse_dtypes,
    parse_layers,
    parse_profile,
    use,
)

PROFILE_SIZES = ", ".join(f"{name} {count}" for name, count in PROFILES.items())
SWEEPS = FAILURES.parent / "exhaustive"


def parity(
    layers: Annotated[
        str, typer.Option(help="Only these layers, operations or optimizers: a,b,c.")
    ] = "",
    dtype: Annotated[str, typer.Option(help="The dtypes to judge.")] = "float32,float64",
    profile: Annotated[
        str | None,
        typer.Option(
            help=f"How many cases for each law: {PROFILE_SIZES}.",
            show_default="dev, or ci where CI is set",
        ),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(help="Cases for each law, layer and dtype.", show_default="the profile's"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Where the draws start; the same seed, the same cases.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="The backend under test.", show_default="TWINGRAD_BACKEND, else numpy"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The backend that is run beside it.", show_default="torch, else numpy"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes to run in; 0: one for each core.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="Write report.json and index.html into this folder.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--replay", help="Run the one case in this file again.")
    ] = None,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Every float32 through each function of one variable; resumable."
        ),
    ] = False,
    trajectory: Annotated[
        str, typer.Option(help="Where do two training runs part? A model: mlp or block.")
    ] = "",
    dispatch: Annotated[
        bool,
        typer.Option("--dispatch", help="The laws under each instruction set of this CPU."),
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure the constants of the bounds; never raises one."),
    ] = False,
) -> None:
    """Run the laws: do both backends compute what the definitions say, and if not, which is wrong?

    Exit code 0 if every law holds, 1 if one does not, 2 for a wrong call.
    """
    console = Console(emoji=False)
    modes = {
        "--replay": file is not None,
        "--exhaustive": exhaustive,
        "--trajectory": bool(trajectory),
        "--dispatch": dispatch,
        "--calibrate": calibrate,
    }
    chosen = [name for name, given in modes.items() if given]
    if len(chosen) > 1:
        raise SettingError(f"{' and '.join(chosen)} are different runs; give one of them")
    for name, value, least in (("--examples", examples, 1), ("--jobs", jobs, 0)):
        if value is not None and value < least:
            raise SettingError(f"{name} must be an integer >= {least}; got {value}")
    for package in ("pytest", "hypothesis", "mpmath"):
        if find_spec(package) is None:
            raise BackendError(
                f"{package} is not installed; install it with: pip install 'twingrad[parity]'"
            )
    backend = backend or default_backend()
    profile = parse_profile(profile or default_profile())
    options = Options(
        parse_layers(layers),
        parse_dtypes(dtype),
        examples or PROFILES[profile],
        check_seed(time.time_ns() % 2**32 if seed is None else seed),
        backend,
        reference or ("numpy" if backend == "torch" else "torch"),
        profile,
    )
    if options.backend == options.reference:
        raise SettingError(
            f"--reference must be another backend than --backend; both are {backend!r}"
        )
    for name in options.backends:
        load_backend(name)
    use(options)
    if file is not None:
        _replay(console, file)
    elif exhaustive:
        _exhaustive(console, options, jobs)
    elif trajectory:
        _trajectory(console, options, trajectory)
    elif dispatch:
        _dispatch(console, options, jobs)
    elif calibrate:
        _calibrate(console, options, jobs)
    else:
        _laws(console, options, jobs, report)


def _laws(console: Console, options: Options, jobs: int, report: Path | None) -> None:
    from twingrad.parity_tests.runs import suite

    started = time.monotonic()
    collector, output, code = suite.run(options, jobs)
    if code == 2 and not collector.other:  # else it could not even collect the laws
        typer.echo("twingrad: interrupted", err=True)
        raise typer.Exit(INTERRUPTED)
    if not collector.passed and not collector.failed:
        last = output.strip().splitlines()[-1:] or [f"pytest ended with code {code}"]
        raise SettingError(f"no law ran: {last[0]}")
    seconds = time.monotonic() - started
    suite.print_findings(console, collector)
    console.print(suite.table(collector))
    console.print(suite.LEGEND, style="dim", highlight=False)
    console.print(
        f"{collector.passed} laws hold, {collector.failed} do not; {seconds:.0f} s, "
        f"seed {options.seed}, {options.examples} examples, {','.join(options.dtypes)}",
        highlight=False,
    )
    if report is not None:
        from twingrad.parity_tests.runs.report import write

        console.print(f"report: {write(report, collector, seconds)}", highlight=False)
    if collector.failed or code:
        raise typer.Exit(1)


def _replay(console: Console, file: Path) -> None:
    from twingrad.parity_tests.judge.case import Case
    from twingrad.parity_tests.judge.checks import Disagreement, check
    from twingrad.parity_tests.runs.replay import load

    case = load(file)
    try:
        check(case)
    except Disagreement as found:
        console.print(str(found), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    subject = case.spec if isinstance(case, Case) else case.optimizer
    console.print(f"{subject.name} ({case.dtype}): agrees with its definition on this case")


def _exhaustive(console: Console, options: Options, jobs: int) -> None:
    from twingrad.parity_tests.runs.exhaustive import run as sweeps
    from twingrad.parity_tests.runs.exhaustive.functions import FUNCTIONS

    wanted = [
        name
        for name, function in FUNCTIONS.items()
        if not options.layers or function.spec.name in options.layers
    ]
    if not wanted:
        known = sorted({function.spec.name for function in FUNCTIONS.values()})
        raise SettingError(f"--exhaustive is for functions of one variable: {', '.join(known)}")
    result = sweeps.run(wanted, "float32", options.backends, SWEEPS, jobs)
    console.print(sweeps.table(result))
    for line in sweeps.faults(result):
        console.print(line, style="red", highlight=False, soft_wrap=True)
    console.print(f"written to {SWEEPS / sweeps.RESULT}", highlight=False)
    if sweeps.faults(result):
        raise typer.Exit(1)


def _trajectory(console: Console, options: Options, model: str) -> None:
    from twingrad.parity_tests.runs import trajectory

    parted = trajectory.compare(model, options.backends, options.seed or 0)
    console.print(trajectory.in_words(parted), markup=False, highlight=False, soft_wrap=True)
    if parted.first is not None:
        raise typer.Exit(1)


def _dispatch(console: Console, options: Options, jobs: int) -> None:
    from twingrad.parity_tests.runs import dispatch

    runs = dispatch.run(options, jobs)
    for one in runs:
        if one.code:
            console.print(f"{one.setting.name}:", style="red", highlight=False)
            console.print(one.output, markup=False, highlight=False, soft_wrap=True)
    console.print(dispatch.table(runs))
    if any(run.code for run in runs):
        raise typer.Exit(1)


def _calibrate(console: Console, options: Options, jobs: int) -> None:
    from twingrad.core.environment import environment
    from twingrad.parity_tests.judge import constants, witnesses
    from twingrad.parity_tests.runs import dispatch, suite

    measuring = replace(options, calibrating=True)
    collector, _, code = suite.run(measuring, jobs, suite.MEASURING)
    suite.print_findings(console, collector)
    if code:
        raise typer.Exit(INTERRUPTED if code == 2 else 1)
    rows, raised = constants.calibrated(collector.measured)
    facts, before = environment(), constants.frozen()["measured"]
    measured = {
        "examples": options.examples,
        "seed": options.seed,
        "cases": before.get("cases", 0) + sum(row["cases"] for row in collector.measured),
        "versions": {name: facts["versions"][name] for name in ("numpy", "torch")},
        "cpu": facts["cpu"],
        "torch": facts["torch"]["kernels"],
    }
    constants.write(rows, measured)
    known = witnesses.extended(witnesses.frozen(), collector.measured)
    witnesses.write(known)
    witnesses.write(witnesses.lowered(known, dispatch.measured(witnesses.FILE)))
    for file in (constants.FILE, witnesses.FILE):
        console.print(f"written to {file}", highlight=False, soft_wrap=True)
    for line in raised:
        console.print(f"not raised: {line}", style="yellow", highlight=False, soft_wrap=True)
    if raised:
        raise typer.Exit(1)
