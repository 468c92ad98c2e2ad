"""The laws once more for each instruction set that this CPU's libraries can be held to.

NumPy, torch and oneDNN choose their kernels by the CPU when they are loaded, and each choice rounds
in its own way. A child process for each runs the suite with the choice made by environment
variables, and with one and with two threads.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from twingrad.core.command_options import to_args
from twingrad.core.environment import cpu_features
from twingrad.core.errors import BackendError
from twingrad.parity_tests.judge.frozen import Recorded, Witness
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.runs import replay

V3, V4 = "X86_V3", "X86_V4"
NO_V4 = "AVX512_ICL AVX512_SPR X86_V4"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class KernelChoice:
    """Which kernels the libraries of a child process choose, by environment variables."""

    name: str
    variables: dict[str, str]


KERNEL_CHOICES = (
    KernelChoice("as found, 1 thread", dict.fromkeys(THREADS, "1")),
    KernelChoice("as found, 2 threads", dict.fromkeys(THREADS, "2")),
    KernelChoice("numpy without AVX-512", {"NPY_DISABLE_CPU_FEATURES": NO_V4}),
    KernelChoice("numpy without AVX2", {"NPY_DISABLE_CPU_FEATURES": f"{V3} {NO_V4}"}),
    KernelChoice("torch with AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}),
    KernelChoice("torch without AVX", {"ATEN_CPU_CAPABILITY": "default"}),
    KernelChoice("oneDNN with SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    KernelChoice(
        "all of them low",
        {
            "NPY_DISABLE_CPU_FEATURES": f"{V3} {NO_V4}",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Nehalem",
            **dict.fromkeys(THREADS, "1"),
        },
    ),
)


@dataclass(frozen=True)
class Outcome:
    """How the laws fared with one choice of kernels."""

    choice: KernelChoice
    code: int
    kernels: str
    summary: str
    seconds: float
    output: str


def run(options: Options, jobs: int) -> list[Outcome]:
    """Run the laws in a child process for each choice of kernels, one after the other."""
    outcomes = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        for number, choice in enumerate(KERNEL_CHOICES, 1):
            words = f"{number} of {len(KERNEL_CHOICES)}: {choice.name}"
            progress.update(task, description=words)
            outcomes.append(_outcome(choice, options, jobs))
    return outcomes


def measured(known: Iterable[Witness], options: Options) -> list[list[Recorded]]:
    """Return the errors on each witness, with each choice of kernels."""
    program = "from twingrad.parity_tests.judge.witnesses import main; main()"
    rows = [{"recorded": one.recorded, "case": replay.written(one.case)} for one in known]
    found = []
    for choice in KERNEL_CHOICES:
        done = subprocess.run(
            [sys.executable, "-c", program, *to_args(options)], input=json.dumps(rows),
            env=environment_for(choice), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BackendError(f"{choice.name}: {done.stderr.strip().splitlines()[-1]}")
        found.append(json.loads(done.stdout))
    return found


def table(outcomes: list[Outcome]) -> Table:
    """Return a row for each choice: what the libraries then used, and how the laws fared."""
    made = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for header in ("choice", "kernels", "result"):
        made.add_column(header)
    made.add_column("seconds", justify="right")
    for one in outcomes:
        colour = "red" if one.code else "green"
        made.add_row(
            one.choice.name, one.kernels, f"[{colour}]{one.summary}[/]", f"{one.seconds:.0f}"
        )
    return made


def environment_for(choice: KernelChoice) -> dict[str, str]:
    """Return the environment of a child: this one's, less what NumPy does not know here."""
    variables = {**os.environ, **choice.variables}
    disabled = variables.get("NPY_DISABLE_CPU_FEATURES")
    if disabled is not None:
        # NumPy warns of a feature that this build or CPU does not have.
        known = set(cpu_features())
        variables["NPY_DISABLE_CPU_FEATURES"] = " ".join(
            name for name in disabled.split() if name in known
        )
    return variables


def _outcome(choice: KernelChoice, options: Options, jobs: int) -> Outcome:
    started = time.monotonic()
    arguments = [*to_args(options), "--jobs", str(jobs)]
    variables = environment_for(choice)
    kernels = subprocess.run(
        [sys.executable, "-c", KERNELS],
        env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from twingrad.cli import main; main()", "parity", *arguments],
        env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"\d+ laws hold, \d+ do not", done.stdout)
    summary = found[0] if found else (done.stderr.strip().splitlines() or ["nothing ran"])[-1]
    seconds = time.monotonic() - started
    return Outcome(choice, done.returncode, kernels.stdout.strip(), summary, seconds, done.stdout)


# What NumPy and torch say that they use, in a process that has been told.
KERNELS = """
from twingrad.core.environment import environment
facts = environment()
used = ["numpy " + (facts["cpu"]["features"] or ["baseline"])[-1]]
used += [library["architecture"] for library in facts["blas"] if library["architecture"]]
if facts.get("torch"):
    used.append("torch " + facts["torch"]["kernels"])
print(", ".join(used))
"""
