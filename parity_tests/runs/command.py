"""`twingrad parity`: is what the backends compute right, and if not, which of them is wrong?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from twingrad.core import packages
from twingrad.core.command_options import takes
from twingrad.core.errors import INTERRUPTED, SettingError
from twingrad.parity_tests.judge.options import FAILURES, Options
from twingrad.parity_tests.judge.session import Session

SWEEPS = FAILURES.parent / "exhaustive"
NEEDS = ("pytest", "hypothesis", "mpmath")  # of what judges


@takes(Options)
def parity(
    options: Options,
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
    asked = [name for name, given in modes.items() if given]
    if len(asked) > 1:
        raise SettingError(f"{' and '.join(asked)} are different runs; give one of them")
    if jobs < 0:
        raise SettingError(f"--jobs must be an integer >= 0; got {jobs}")
    for package in NEEDS:
        packages.require(package, "parity")
    if options.seed is None:
        options = replace(options, seed=time.time_ns() % 2**32)
    if options.backend == options.reference:
        raise SettingError(
            f"--reference must be another backend than --backend; both are {options.backend!r}"
        )
    session = Session(options)
    assert session.backends  # loaded now, so that a missing one is a wrong call
    if file is not None:
        _replay(console, session, file)
    elif exhaustive:
        _exhaustive(console, options, jobs)
    elif trajectory:
        _trajectory(console, session, trajectory)
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


def _replay(console: Console, session: Session, file: Path) -> None:
    from twingrad.parity_tests.judge.case import Case
    from twingrad.parity_tests.judge.checks import Disagreement, check
    from twingrad.parity_tests.runs.replay import load

    case = load(file)
    try:
        check(case, session)
    except Disagreement as found:
        console.print(str(found), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    subject = case.spec if isinstance(case, Case) else case.optimizer
    console.print(f"{subject.name} ({case.dtype}): agrees with its definition on this case")


def _exhaustive(console: Console, options: Options, jobs: int) -> None:
    from twingrad.parity_tests.runs.exhaustive import run as sweeps
    from twingrad.parity_tests.runs.exhaustive.functions import functions

    wanted = [name for name, function in functions().items() if options.wants(function.spec.name)]
    if not wanted:
        known = sorted({function.spec.name for function in functions().values()})
        raise SettingError(f"--exhaustive is for functions of one variable: {', '.join(known)}")
    result = sweeps.run(wanted, "float32", options.backends, SWEEPS, jobs)
    console.print(sweeps.table(result))
    for line in sweeps.faults(result):
        console.print(line, style="red", highlight=False, soft_wrap=True)
    console.print(f"written to {SWEEPS / sweeps.RESULT}", highlight=False)
    if sweeps.faults(result):
        raise typer.Exit(1)


def _trajectory(console: Console, session: Session, model: str) -> None:
    from twingrad.parity_tests.runs import trajectory

    parted = trajectory.compare(model, session)
    console.print(trajectory.in_words(parted), markup=False, highlight=False, soft_wrap=True)
    if parted.first is not None:
        raise typer.Exit(1)


def _dispatch(console: Console, options: Options, jobs: int) -> None:
    from twingrad.parity_tests.runs import dispatch

    runs = dispatch.run(options, jobs)
    for one in runs:
        if one.code:
            console.print(f"{one.choice.name}:", style="red", highlight=False)
            console.print(one.output, markup=False, highlight=False, soft_wrap=True)
    console.print(dispatch.table(runs))
    if any(run.code for run in runs):
        raise typer.Exit(1)


def _calibrate(console: Console, options: Options, jobs: int) -> None:
    from twingrad.core.catalogue import everything
    from twingrad.core.environment import environment
    from twingrad.parity_tests.judge import constants, frozen, witnesses
    from twingrad.parity_tests.runs import dispatch, suite

    measuring = replace(options, calibrating=True)
    collector, _, code = suite.run(measuring, jobs, suite.MEASURING)
    suite.print_findings(console, collector)
    if code:
        raise typer.Exit(INTERRUPTED if code == 2 else 1)
    facts = environment()
    how = {
        "examples": options.examples,
        "seed": options.seed,
        "versions": {name: facts["versions"][name] for name in ("numpy", "torch")},
    }
    made, raised = {}, []
    for name in filter(options.wants, everything()):
        rows = [row for row in collector.measured if row["layer"] == name]
        known, above = constants.calibrated(frozen.frozen(name), rows, how)
        made[name] = replace(known, witnesses=tuple(witnesses.extended(known.witnesses, rows)))
        raised += [f"{name} {words}" for words in above]
    cases = [one for known in made.values() for one in known.witnesses]
    lowered = iter(witnesses.lowered(cases, dispatch.measured(cases, options)))
    for name, known in made.items():
        file = frozen.file_of(name)
        if file is None:
            console.print(f"{name}: its laws lie in no file, so nothing is recorded")
            continue
        frozen.write(replace(known, witnesses=tuple(next(lowered) for _ in known.witnesses)), file)
        console.print(f"written to {file}", highlight=False, soft_wrap=True)
    for line in raised:
        console.print(f"not raised: {line}", style="yellow", highlight=False, soft_wrap=True)
    if raised:
        raise typer.Exit(1)
