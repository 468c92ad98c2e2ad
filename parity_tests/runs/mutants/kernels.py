"""What is mutated: the files that hold handwritten kernels, and which layers come by which code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeGuard

from twingrad.backends import numpy_backend
from twingrad.backends.numpy_backend.kernels import KERNELS, OPTIMIZERS
from twingrad.core.catalogue import LAYERS, everything, is_own
from twingrad.core.catalogue import OPTIMIZERS as OPTIMIZER_SPECS
from twingrad.core.foreign import supports
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import load_backend

PACKAGE = numpy_backend.__name__
FOLDER = Path(numpy_backend.__file__).parent
# What dispatches, and what runs kernels in blocks, is under laws of its own.
NOT_KERNELS = ("__init__", "blocks", "dispatch", "flat", "kernels", "recompute", "tape", "tensor")
# Written once for the kernel and for the definition, so it is mutated where it stands.
SHARED = {"attention": ("twingrad.core.layers.attention", ("visible_pairs",))}


@dataclass(frozen=True)
class KernelFile:
    """A file, and the functions in it that are kernels; None: all of them, and all constants."""

    module: str
    functions: tuple[str, ...] | None = None


def kernel_files() -> dict[str, list[KernelFile]]:
    """Return the files of each kernel: ours by the name of the file, others by their layer."""
    own = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_KERNELS)
    files = {name: [KernelFile(f"{PACKAGE}.{name}")] for name in own}
    for name, (module, functions) in SHARED.items():
        files[name].append(KernelFile(module, functions))
    for name, start in roots().items():
        if name not in OPERATIONS and not is_own(name):
            modules: dict[str, list[str]] = {}
            for function in {function for root in start for function in reached(root)}:
                if not function.__module__.startswith("twingrad."):
                    modules.setdefault(function.__module__, []).append(function.__name__)
            files[name] = [
                KernelFile(module, tuple(sorted(functions)))
                for module, functions in sorted(modules.items())
            ]
    return files


def roots() -> dict[str, tuple[FunctionType, ...]]:
    """Return the handwritten functions of each layer, operation and optimizer that has some."""
    everything()
    numpy = load_backend("numpy")
    found: dict[str, tuple[Any, ...]] = {}
    for name in (*LAYERS, *OPERATIONS):
        if supports(numpy, name, "float64"):
            found[name] = tuple(filter(None, KERNELS[name]))
    for name in OPTIMIZER_SPECS:
        if supports(numpy, name, "float64"):
            found[name] = (OPTIMIZERS[name],)
    return found


@cache
def reached(root: FunctionType) -> frozenset[FunctionType]:
    """Return the kernel functions that a function calls, itself included."""
    found: set[FunctionType] = set()
    waiting = [root]
    home = root.__module__.partition(".")[0]
    while waiting:
        function = waiting.pop()
        if function in found:
            continue
        found.add(function)
        names = names_in(function.__code__)
        for name in names:
            value = function.__globals__.get(name)
            is_page = isinstance(value, ModuleType) and _is_kernel_module(value.__name__, home)
            values = [getattr(value, other, None) for other in names] if is_page else []
            waiting += [one for one in (value, *values) if _is_kernel(one, home)]
    return frozenset(found)


def _is_kernel(value: Any, home: str) -> TypeGuard[FunctionType]:
    return isinstance(value, FunctionType) and _is_kernel_module(value.__module__, home)


def _is_kernel_module(module: str, home: str) -> bool:
    """Whether kernels of the package `home` may stand in a module."""
    package, _, name = module.rpartition(".")
    if package == PACKAGE:
        return name not in NOT_KERNELS
    if module in {shared for shared, _ in SHARED.values()}:
        return True
    return home != "twingrad" and module.partition(".")[0] == home


def names_in(code: CodeType) -> set[str]:
    """Return the global names and attributes that a function uses, those inside it too."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return {*code.co_names, *(name for one in inner for name in names_in(one))}


def modules_with(module: str) -> Iterator[ModuleType]:
    """Yield the loaded modules that may hold a constant of `module` under its name."""
    home = PACKAGE if module.startswith("twingrad.") else module.partition(".")[0]
    for name, loaded in list(sys.modules.items()):
        if name == home or name.startswith(f"{home}."):
            yield loaded
