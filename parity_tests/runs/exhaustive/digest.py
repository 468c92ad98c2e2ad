"""What the result of a sweep depends on: the pages that compute it, and the libraries' versions."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from twingrad.core.catalogue import page
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import load_backend
from twingrad.parity_tests.laws.table import page_of
from twingrad.parity_tests.runs.exhaustive import sweep
from twingrad.parity_tests.runs.exhaustive.functions import functions


def digest(
    function: str,
    dtype: str,
    backends: tuple[str, ...],
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> str:
    """Return a digest of all that the sweep of a function on these backends depends on."""
    found = hashlib.sha256()
    for path in sorted(pages(function, backends)):
        found.update(read(path))
    versions = (np.__version__, torch.__version__, function, dtype, *backends)
    found.update("\n".join(versions).encode())
    return found.hexdigest()[:16]


def pages(function: str, backends: tuple[str, ...]) -> set[Path]:
    """Return the files that compute a function, its truth, and their difference."""
    layer = functions()[function].spec.name
    modules = {sweep.__name__, *_modules_of(page_of(layer))}
    for name in backends:
        engine = type(getattr(load_backend(name), "inner", load_backend(name))).__module__
        modules.add(engine)
        if layer in OPERATIONS and find_spec(f"{engine}.operations"):
            modules.add(f"{engine}.operations")
        else:
            modules |= _modules_of(page(layer, name, engine))
    return {file for module in modules for file in imported(module)}


def _modules_of(page: Any) -> set[str]:
    """Return the modules that a page is written in: it may be one, or be made of functions."""
    if isinstance(page, ModuleType):
        return {page.__name__}
    parts = [getattr(page, name) for name in dir(page) if not name.startswith("_")]
    return {part.__module__ for part in parts if isinstance(part, FunctionType | MethodType)}


def imported(module: str) -> set[Path]:
    """Return the files of a module and of all that it imports from its own package."""
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        found = None if name in files else _found(name)
        if found is None or not found.has_location:
            continue
        files[name] = Path(str(found.origin))
        package = name if found.submodule_search_locations is not None else found.parent
        if name == module:
            home = f"{package}."
        waiting += [one for one in _imports(files[name], str(package)) if one.startswith(home)]
    return set(files.values())


def _found(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ModuleNotFoundError:  # it is a name in a module
        return None


def _imports(file: Path, package: str) -> Iterator[str]:
    """Yield the names of all that a file imports, which may be modules."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
