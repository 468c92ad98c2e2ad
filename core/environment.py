"""What a number depends on besides the code: machine, libraries, threads, versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from twingrad.core.registry import backends

# Read by OpenBLAS, MKL, OpenMP, Accelerate, torch, JAX and NumPy: which threads, which kernels.
VARIABLE_PREFIXES = (
    "ATEN_",
    "CUDA_VISIBLE_",
    "GOMP_",
    "GOTO_",
    "JAX_",
    "KMP_",
    "MKL_",
    "NPROC",
    "NPY_",
    "OMP_",
    "OPENBLAS_",
    "TORCH_",
    "TWINGRAD_",
    "VECLIB_",
    "XLA_",
)
SET_BY_THREADPOOLCTL = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")  # as it is imported
PACKAGES = (
    "numpy",
    "torch",
    "jax",
    "autograd",
    "mygrad",
    "tinygrad",
    "safetensors",
    "typer",
    "rich",
    "hypothesis",
    "pytest",
    "mpmath",
    "matplotlib",
    "scikit-learn",
    "threadpoolctl",
)
# A library that NumPy's or torch's wheel brings lies in a folder of this name.
WHEEL_FOLDERS = {"numpy.libs": "numpy", "numpy": "numpy", "torch": "torch", "torch.libs": "torch"}


def environment(import_torch: bool = True) -> dict[str, Any]:
    """Return the machine, BLAS, threads, backends and versions, ready for JSON.

    Imports torch if it is installed and wanted, since only a loaded library tells its threads.
    """
    available = backends()
    torch_facts = None
    if import_torch and available["torch"] == "available":
        try:
            torch_facts = _torch()
        except (ImportError, OSError) as error:  # installed, but for another machine
            available["torch"] = f"cannot be imported: {str(error).splitlines()[0]}"
    return {
        "versions": versions(),
        "system": platform.platform(),
        "cpu": {"model": cpu_model(), "cores": cores(), "features": cpu_features()},
        "load": load_average(),
        "blas": blas_libraries(),
        "variables": variables(os.environ),
        "backends": available,
        "torch": torch_facts,
    }


def versions() -> dict[str, str]:
    """Return the version of Python, of twingrad and of each package it may use, if installed."""
    import twingrad

    found = {"twingrad": twingrad.__version__, "python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def cpu_model() -> str:
    """Return the processor's name as the system gives it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use, which in a container can be fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_features() -> list[str]:
    """Return the vector extensions that NumPy uses on this machine, in its own names."""
    built_with: Any = np.show_config(mode="dicts")
    extensions = built_with.get("SIMD Extensions", {})
    return [*extensions.get("baseline", []), *extensions.get("found", [])]


def load_average() -> float | None:
    """Return how many processes wanted a core in the last minute, where the system counts them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def blas_libraries() -> list[dict[str, Any]]:
    """Return each loaded BLAS or OpenMP library: owner, name, version, architecture, threads."""
    return [
        {
            "owner": _owner(library["filepath"]),
            "library": library["internal_api"],
            "version": library["version"],
            "architecture": library.get("architecture"),
            "threads": library["num_threads"],
        }
        for library in threadpool_info()
    ]


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change threads or kernels."""
    return {
        name: environ[name]
        for name in sorted(environ)
        if name.startswith(VARIABLE_PREFIXES) and name not in SET_BY_THREADPOOLCTL
    }


def library_lines(libraries: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return for each BLAS or OpenMP library whose it is, and what is known of it."""
    return [(_owner_of(library), _library_text(library)) for library in libraries]


def summary(facts: Mapping[str, Any]) -> list[str]:
    """Return an environment as lines of text, one fact each, to read or to paste."""
    cpu, torch, found = facts["cpu"], facts["torch"], facts["versions"]
    load = "" if facts["load"] is None else f", load {facts['load']}"
    lines = [
        f"twingrad {found['twingrad']}, python {found['python']}, {facts['system']}",
        f"cpu: {cpu['model']}, {cpu['cores']} cores{load}",
        *(f"{owner}: {text}" for owner, text in library_lines(facts["blas"])),
    ]
    if torch is not None:
        lines.append(f"torch: {torch['threads']} threads, {torch['blas']}, cuda {torch['cuda']}")
    lines.append(
        "variables: "
        + (", ".join(f"{name}={value}" for name, value in facts["variables"].items()) or "none set")
    )
    lines.extend(f"backend {name}: {state}" for name, state in facts["backends"].items())
    return lines


def _torch() -> dict[str, Any]:
    import torch

    build = torch.__config__.show()
    libraries: Any = torch.backends  # its functions have no types
    return {
        "threads": torch.get_num_threads(),
        "blas": "MKL" if libraries.mkl.is_available() else "no MKL",
        "kernels": libraries.cpu.get_cpu_capability(),
        "openmp": next((line.strip(" -") for line in build.splitlines() if "OpenMP" in line), ""),
        "cuda": (
            ", ".join(
                torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
            )
            or f"{torch.version.cuda}, no device"
            if torch.version.cuda
            else "none (a CPU build)"
        ),
    }


def _owner(path: str) -> str:
    folders = {*Path(path).parts}
    return next((owner for name, owner in WHEEL_FOLDERS.items() if name in folders), "system")


def _owner_of(library: Mapping[str, Any]) -> str:
    kind = "openmp" if library["library"] == "openmp" else "blas"
    return f"{kind} of {library['owner']}"


def _library_text(library: Mapping[str, Any]) -> str:
    parts = [str(library["library"])]
    if library["version"]:
        parts[0] += f" {library['version']}"
    if library["architecture"]:
        parts.append(f"kernels for {library['architecture']}")
    return ", ".join([*parts, f"{library['threads']} threads"])
