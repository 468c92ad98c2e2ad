"""Every layer and optimizer that there is, and how a package adds one of its own.

What is registered is a spec, and the pages that belong to it: its kernels on each backend, what
the laws must know of it, how it is measured. Our own layers are registered by the same call; their
pages are found by their name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any

from twingrad.core.errors import RegistrationError, TwingradError, UnknownNameError
from twingrad.core.operations import OPERATIONS
from twingrad.core.spec import LayerSpec, OptimizerSpec

GROUP = "twingrad.layers"  # of the entry points with which other packages bring layers
FILE = "twingrad_layers_"  # begins the name of a module that was loaded from a file

LAYERS: dict[str, LayerSpec] = {}
OPTIMIZERS: dict[str, OptimizerSpec] = {}

Page = Any  # a module, the dotted name of one, or anything that has the same attributes
_pages: dict[str, dict[str, Page]] = {}


def register_layer(spec: LayerSpec, pages: Mapping[str, Page] | None = None) -> LayerSpec:
    """Add a layer to those that there are, and return its spec.

    `pages` names the layer's modules by what they are for: "numpy" has `forward` and `backward`,
    "torch" has `forward`, another backend's name whatever that backend asks for; "laws" and
    "bench" are read by the laws and the benchmarks, and may be left out. A page is a module, the
    dotted name of one, which is imported when it is first needed, or anything that has the same
    attributes.

    Raises RegistrationError if the name is taken, or the spec contradicts itself.
    """
    _check_name("layer", spec)
    known = set(spec.inputs)
    named = {*spec.optional, *spec.broadcast, *spec.booleans, *spec.constants, *spec.labels}
    for name in {*named, *spec.indices} - known:
        raise RegistrationError(
            f"layer {spec.name!r}: {name!r} must be one of its inputs; it has {sorted(known)}"
        )
    _check_arguments(spec, [*spec.inputs, *spec.settings])
    LAYERS[spec.name] = spec
    _pages[spec.name] = dict(pages or {})
    return spec


def register_optimizer(
    spec: OptimizerSpec, pages: Mapping[str, Page] | None = None
) -> OptimizerSpec:
    """Add an optimizer to those that there are, and return its spec.

    `pages` are as in `register_layer`; those of backends have `step`.
    """
    _check_name("optimizer", spec)
    _check_arguments(spec, ["weight", "grad", "state", "step", *spec.settings])
    OPTIMIZERS[spec.name] = spec
    _pages[spec.name] = dict(pages or {})
    return spec


@contextmanager
def rehearsal() -> Iterator[None]:
    """Let pages of other packages that register be run again, to no effect.

    Inside, their names are free; at its end the tables are as they were.
    """
    tables: tuple[dict[str, Any], ...] = (LAYERS, OPTIMIZERS, _pages)
    before = [dict(table) for table in tables]
    for name in [*LAYERS, *OPTIMIZERS]:
        if not is_own(name):
            LAYERS.pop(name, None)
            OPTIMIZERS.pop(name, None)
    try:
        yield
    finally:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)


def page(name: str, room: str, package: str) -> Page | None:
    """Return what a layer or an optimizer has in a room, imported; None if it has nothing there.

    That is what was registered, or of our own the module of its name in `package`.
    """
    found = _place_of(name, room, package)
    return import_module(found) if isinstance(found, str) else found


def has_page(name: str, room: str, package: str) -> bool:
    """Return whether there is such a page, without importing it."""
    return _place_of(name, room, package) is not None


def page_file(name: str, room: str, package: str) -> Path | None:
    """Return the file of such a page, without importing it; None if there is none."""
    registered = _pages.get(name, {}).get(room, f"{package}.{name}")
    if isinstance(registered, str):
        return _module_file(registered)
    if isinstance(registered, ModuleType):
        return Path(registered.__file__) if registered.__file__ else None
    # Anything else is found by the functions that it is made of.
    public = [getattr(registered, each) for each in dir(registered) if not each.startswith("_")]
    written = [each for each in public if inspect.isfunction(each) or inspect.ismethod(each)]
    files = [Path(inspect.getfile(each)) for each in written]
    return next((file for file in files if file.exists()), None)


def is_own(name: str) -> bool:
    """Return whether a layer, an operation or an optimizer is twingrad's own."""
    return everything()[name].definition.__module__.startswith("twingrad.")


def _place_of(name: str, room: str, package: str) -> Page | None:
    known: dict[str, LayerSpec | OptimizerSpec] = {**LAYERS, **OPTIMIZERS}
    if name not in known:
        return None
    registered = _pages[name].get(room)
    if registered is None and known[name].definition.__module__.startswith("twingrad."):
        own = f"{package}.{name}"
        return own if find_spec(own) else None
    return registered


def everything() -> dict[str, LayerSpec | OptimizerSpec]:
    """Return every layer, operation and optimizer by name, other packages' too."""
    discover()
    return {**LAYERS, **OPERATIONS, **OPTIMIZERS}


def spec_of(name: str) -> LayerSpec:
    """Return the spec of a layer or of a structure operation."""
    spec = LAYERS.get(name) or OPERATIONS.get(name)
    if spec is None:
        discover()
        spec = LAYERS.get(name)
    if spec is None:
        raise UnknownNameError("layer", name, LAYERS)
    return spec


def optimizer_spec_of(name: str) -> OptimizerSpec:
    """Return the spec of an optimizer."""
    if name not in OPTIMIZERS:
        discover()
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


@cache
def discover() -> None:
    """Import what other packages bring by the entry point group twingrad.layers, once.

    Raises RegistrationError for one that cannot be imported, or registers nothing of its name.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else "an unknown package"
        where = f"layer {entry.name!r}: {entry.value} (of {package})"
        _imported(where, entry.load)
        if entry.name not in {**LAYERS, **OPTIMIZERS}:
            raise RegistrationError(
                f"{where} must register a layer or an optimizer called {entry.name!r}; "
                f"call twingrad.register_layer in it"
            )


def load_file(path: Path) -> list[str]:
    """Import a Python file that registers layers or optimizers; return their names.

    A file is imported once in a process. Raises RegistrationError if it cannot be, or registers
    nothing.
    """
    path = path.resolve()
    where = f"--layers {path}"
    if not path.is_file():
        raise RegistrationError(f"{where}: there is no such file")
    name = f"{FILE}{path.stem}"
    if name not in sys.modules:
        _imported(where, lambda: _executed(name, path))
    loaded = Path(str(sys.modules[name].__file__))
    if loaded != path:
        raise RegistrationError(f"{where}: {loaded} has the same name; rename one of them")
    known: dict[str, LayerSpec | OptimizerSpec] = {**LAYERS, **OPTIMIZERS}
    found = [
        key for key, spec in known.items() if inspect.getsourcefile(spec.definition) == str(path)
    ]
    if not found:
        raise RegistrationError(
            f"{where}: it registers no layer and no optimizer; call twingrad.register_layer in it"
        )
    return found


def _executed(name: str, path: Path) -> None:
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RegistrationError(f"--layers {path}: it must be a Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _module_file(dotted: str) -> Path | None:
    """Return a module's file, found without importing the packages that it is in."""
    first, *parts = dotted.split(".")
    spec = find_spec(first)
    for part in parts:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _imported(where: str, load: Callable[[], Any]) -> None:
    try:
        load()
    except TwingradError:
        raise
    except Exception as error:
        said = shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")
        raise RegistrationError(f"{where} cannot be imported: {said}") from error


def _check_name(kind: str, spec: LayerSpec | OptimizerSpec) -> None:
    if not (spec.name.isidentifier() and spec.name.islower()):
        raise RegistrationError(
            f"{kind}: its name must be a Python name in small letters; got {spec.name!r}"
        )
    known: dict[str, LayerSpec | OptimizerSpec] = {**LAYERS, **OPERATIONS, **OPTIMIZERS}
    taken = known.get(spec.name)
    if taken is not None:
        raise RegistrationError(
            f"{kind} {spec.name!r}: the name is taken, by {taken.definition.__module__}; "
            f"give yours another one"
        )


def _check_arguments(spec: LayerSpec | OptimizerSpec, expected: list[str]) -> None:
    found = list(inspect.signature(spec.definition).parameters)
    if found != expected:
        raise RegistrationError(
            f"{spec.name}: the definition must take ({', '.join(expected)}), in the order of the "
            f"spec; it takes ({', '.join(found)})"
        )
