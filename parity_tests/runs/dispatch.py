"""The laws once more for each instruction set that this CPU's libraries can be held to.

NumPy, torch and oneDNN choose their kernels by the CPU when they are loaded, and each choice rounds
in its own way. A child process for each setting runs the suite with the choice made by environment
variables, and with one and with two threads.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from twingrad.core.environment import cpu_features
from twingrad.core.errors import BackendError
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.witnesses import Recorded

V3, V4 = "X86_V3", "X86_V4"
NO_V4 = "AVX512_ICL AVX512_SPR X86_V4"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """What a child process is told, by environment variables."""

    name: str
    variables: dict[str, str]


SETTINGS = (
    Setting("as found, 1 thread", dict.fromkeys(THREADS, "1")),
    Setting("as found, 2 threads", dict.fromkeys(THREADS, "2")),
    Setting("numpy without AVX-512", {"NPY_DISABLE_CPU_FEATURES": NO_V4}),
    Setting("numpy without AVX2", {"NPY_DISABLE_CPU_FEATURES": f"{V3} {NO_V4}"}),
    Setting("torch with AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}),
    Setting("torch without AVX", {"ATEN_CPU_CAPABILITY": "default"}),
    Setting("oneDNN with SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Setting(
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
class Run:
    """How the laws fared under one setting."""

    setting: Setting
    code: int
    kernels: str
    summary: str
    seconds: float
    output: str


def run(options: Options, jobs: int) -> list[Run]:
    """Run the laws in a child process for each setting, one after the other."""
    runs = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        for number, setting in enumerate(SETTINGS, 1):
            words = f"{number} of {len(SETTINGS)}: {setting.name}"
            progress.update(task, description=words)
            runs.append(_run(setting, options, jobs))
    return runs


def measured(file: Path) -> list[list[Recorded]]:
    """Return the errors on each witness of a file, under each setting."""
    program = "from twingrad.parity_tests.judge.witnesses import main; main()"
    found = []
    for setting in SETTINGS:
        done = subprocess.run(
            [sys.executable, "-c", program, str(file)],
            env=environment_for(setting), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BackendError(f"{setting.name}: {done.stderr.strip().splitlines()[-1]}")
        found.append(json.loads(done.stdout))
    return found


def table(runs: list[Run]) -> Table:
    """Return a row for each setting: what the libraries then used, and how the laws fared."""
    made = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for header in ("setting", "kernels", "result"):
        made.add_column(header)
    made.add_column("seconds", justify="right")
    for one in runs:
        colour = "red" if one.code else "green"
        made.add_row(
            one.setting.name, one.kernels, f"[{colour}]{one.summary}[/]", f"{one.seconds:.0f}"
        )
    return made


def environment_for(setting: Setting) -> dict[str, str]:
    """Return the environment of a child: this one's, less what NumPy does not know here."""
    variables = {**os.environ, **setting.variables}
    disabled = variables.get("NPY_DISABLE_CPU_FEATURES")
    if disabled is not None:
        # NumPy warns of a feature that this build or CPU does not have.
        known = set(cpu_features())
        variables["NPY_DISABLE_CPU_FEATURES"] = " ".join(
            name for name in disabled.split() if name in known
        )
    return variables


def _run(setting: Setting, options: Options, jobs: int) -> Run:
    started = time.monotonic()
    arguments = ["--examples", str(options.examples), "--seed", str(options.seed)]
    arguments += ["--dtype", ",".join(options.dtypes), "--jobs", str(jobs)]
    arguments += ["--backend", options.backend, "--reference", options.reference]
    if options.layers:
        arguments += ["--layers", ",".join(options.layers)]
    variables = environment_for(setting)
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
    return Run(setting, done.returncode, kernels.stdout.strip(), summary, seconds, done.stdout)


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
