"""The commands `twingrad layers` and `twingrad info`: what there is, and on what it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from twingrad.core.spec import LayerSpec, OptimizerSpec

    Spec = LayerSpec | OptimizerSpec

PACKAGE = Path(__file__).parent
SPACIOUS = 130  # columns of text, below which all that is said of a layer shares one column
SOURCE_WIDTH = 32  # columns of text; the longest part of a dotted name has as many
# What changes kernels or threads most often: worth a line even where it is not set.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "TWINGRAD_BACKEND",
)


def version(wanted: bool) -> None:
    """Print the version and end, if it was asked for."""
    if wanted:
        import twingrad

        typer.echo(f"twingrad {twingrad.__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that stand before every command."""


def layers(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A layer, operation or optimizer to show in full; or a file that registers some."
        ),
    ] = None,
    operations: Annotated[
        bool, typer.Option("--operations", help="Show the structure operations too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every layer and optimizer: formula, inputs, settings, source."""
    from twingrad.core.catalogue import LAYERS, OPTIMIZERS, everything, load_file
    from twingrad.core.errors import UnknownNameError
    from twingrad.core.operations import OPERATIONS

    known, names = everything(), [] if name is None else [name]
    if name is not None and name.endswith(".py"):
        names = load_file(Path(name))
        known = everything()
    for one in names:
        if one not in known:
            raise UnknownNameError("layer, operation or optimizer", one, known)
    shown: dict[str, Mapping[str, Spec]] = {"layers": LAYERS}
    if operations:
        shown["operations"] = OPERATIONS
    shown["optimizers"] = OPTIMIZERS
    if json and names:
        facts = [facts_of(known[one]) for one in names]
        _print_json(facts[0] if names == [name] else facts)
        return
    if json:
        _print_json(
            {kind: [facts_of(spec) for spec in specs.values()] for kind, specs in shown.items()}
        )
        return
    console = _console()
    for one in names:
        for line in in_full(facts_of(known[one]), console.width):
            console.print(line, markup=False, soft_wrap=True)
    if names:
        return
    for kind, specs in shown.items():
        console.print(table(kind, [facts_of(spec) for spec in specs.values()], console.width))
    console.print("? is optional; one in full: twingrad layers NAME", markup=False)


def info(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions, processor, BLAS, threads and backends, to paste into a bug report."""
    from twingrad.core.environment import environment

    facts = environment()
    if json:
        _print_json(facts)
        return
    console = _console()
    for key, value in info_lines(facts):
        console.print(f"{key}: {value}", markup=False, soft_wrap=True)


def info_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return an environment as pairs of a name and what is to be said of it."""
    from twingrad.core.environment import library_lines

    cpu, torch = facts["cpu"], facts["torch"]
    variables = dict.fromkeys(VARIABLES, "not set") | facts["variables"]
    return [
        *facts["versions"].items(),
        ("system", facts["system"]),
        ("cpu", cpu["model"]),
        ("cores", str(cpu["cores"])),
        ("load", "unknown" if facts["load"] is None else str(facts["load"])),
        ("vector features", ", ".join(cpu["features"]) or "unknown"),
        *library_lines(facts["blas"]),
        *((f"torch {key}", str(value)) for key, value in (torch or {}).items()),
        *variables.items(),
        *((f"backend {name}", state) for name, state in facts["backends"].items()),
    ]


def facts_of(spec: Spec) -> dict[str, Any]:
    """Return a spec as what JSON can hold, with its definition's text and its backends' files."""
    from twingrad.core.spec import LayerSpec

    facts: dict[str, Any] = {"name": spec.name}
    if isinstance(spec, LayerSpec):
        facts["formula"] = spec.formula
        facts["inputs"] = [_input(spec, name) for name in spec.inputs]
        facts["variadic"] = spec.variadic
        facts["output"] = spec.output
    else:
        facts["recurrence"] = list(spec.recurrence)
        facts["state"] = list(spec.state)
    facts["settings"] = [
        {"name": name, "default": setting.default, "valid": setting.valid}
        for name, setting in spec.settings.items()
    ]
    text, file = _definition(spec)
    return facts | {
        "meaning": spec.meaning,
        "source": spec.source,
        "definition": text,
        "definition_file": file,
        "backends": _backend_files(spec.name),
    }


def table(kind: str, specs: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Return specs as a table that shows all of their text in `width` columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    spacious = width >= SPACIOUS
    optimizers = "recurrence" in specs[0]
    what = "recurrence" if optimizers else "formula"
    grid = Table(
        title=kind,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    grid.add_column("name", no_wrap=True)
    if not spacious:
        grid.add_column(f"{what}, {'settings' if optimizers else 'inputs, settings'}, source")
    else:
        grid.add_column(what)
        if not optimizers:
            grid.add_column("inputs", no_wrap=True)
        grid.add_column("settings")
        grid.add_column("source", width=SOURCE_WIDTH)
    for index, spec in enumerate(specs):
        formula = "\n".join(spec["recurrence"]) if optimizers else spec["formula"]
        inputs = [] if optimizers else [_short_input(spec, entry) for entry in spec["inputs"]]
        settings = [_short_setting(entry) for entry in spec["settings"]]
        if spacious:
            cells = [formula] if optimizers else [formula, "\n".join(inputs)]
            cells += ["\n".join(settings), _breakable(spec["source"])]
            grid.add_row(spec["name"], *(Text(cell) for cell in cells))
        else:
            lines = [*_list_of("inputs", inputs), *_list_of("settings", settings)]
            below = "\n".join([*lines, f"source: {spec['source']}"])
            grid.add_row(spec["name"], Text.assemble(formula, (f"\n{below}", "dim")))
        if index < len(specs) - 1:
            grid.add_row()
    return grid


def in_full(spec: Mapping[str, Any], width: int) -> list[str]:
    """Return everything about one spec as lines; only the code may be wider than `width`."""
    if "formula" in spec:
        notes = [(entry["name"], entry["shape"], _notes(entry)) for entry in spec["inputs"]]
        names = max(len(name) for name, _, _ in notes)
        shapes = max(len(shape) for _, shape, _ in notes)
        more = ["and as many more as one likes: x1, x2, ..."] if spec["variadic"] else []
        what = {
            "formula": [spec["formula"]],
            "inputs": [f"{name:{names}}  {shape:{shapes}}  {note}" for name, shape, note in notes]
            + more,
            "output": [spec["output"]],
        }
    else:
        what = {
            "recurrence": spec["recurrence"],
            "state": [f"{', '.join(spec['state'])}; each of the parameter's shape"],
        }
    sections: dict[str, Sequence[str]] = what | {
        "settings": [
            f"{entry['name']} = {entry['default']!r}: {entry['valid']}"
            for entry in spec["settings"]
        ],
        "meaning": [part.strip() for part in spec["meaning"].split(";") if part],
        "source": [spec["source"]],
    }
    lines = [spec["name"], ""]
    for title, texts in sections.items():
        if texts:
            lines += [f"{title}:", *chain.from_iterable(_wrapped(text, width) for text in texts)]
    lines += [f"definition, in {spec['definition_file']}:", ""]
    lines += [f"    {line}".rstrip() for line in spec["definition"].splitlines()]
    lines += ["", "backends:"]
    return lines + [f"  {name}: {file or 'no page'}" for name, file in spec["backends"].items()]


def _input(spec: LayerSpec, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "shape": spec.inputs[name],
        "optional": name in spec.optional,
        "boolean": name in spec.booleans,
        "broadcasts": name in spec.broadcast,
        "gradient": name in spec.differentiable,
    }


def _notes(entry: Mapping[str, Any]) -> str:
    """Write what is special about an input in words."""
    words = [name for name in ("optional", "boolean", "broadcasts") if entry[name]]
    return ", ".join(words if entry["gradient"] else [*words, "no gradient"])


def _short_input(spec: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    mark = "?" if entry["optional"] else ""
    more = ", x1, ..." if spec["variadic"] else ""
    return f"{entry['name']}{mark}{more} ({entry['shape']})"


def _short_setting(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}={entry['default']!r} ({entry['valid']})"


def _list_of(title: str, texts: Sequence[str]) -> list[str]:
    """Return one line that names and lists `texts`, or none if there is nothing to list."""
    return [f"{title}: {', '.join(texts)}"] if texts else []


def _breakable(source: str) -> str:
    """Break a dotted name that is wider than its column after its last dot."""
    words = []
    for word in source.split(" "):
        head, dot, tail = word.rpartition(".")
        words.append(f"{head}{dot}\n{tail}" if len(word) > SOURCE_WIDTH else word)
    return " ".join(words)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(
        text.rstrip(),
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _definition(spec: Spec) -> tuple[str, str]:
    """Return a definition's text and its file; what stands in no file has neither."""
    import inspect

    try:
        return inspect.getsource(spec.definition), _shown(Path(inspect.getfile(spec.definition)))
    except (OSError, TypeError):
        return "", f"module {spec.definition.__module__}"


def _backend_files(name: str) -> dict[str, str | None]:
    """Return each backend's file for a layer, or that of all operations; None without a page."""
    from twingrad.core.catalogue import page_file
    from twingrad.core.operations import OPERATIONS
    from twingrad.core.registry import OWN

    module = "operations" if name in OPERATIONS else name
    files = {backend: page_file(module, backend, own.package) for backend, own in OWN.items()}
    return {backend: None if file is None else _shown(file) for backend, file in files.items()}


def _shown(file: Path) -> str:
    """Return a file's path inside the package twingrad; another package's in full."""
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else str(file)


def _print_json(document: Mapping[str, Any] | list[dict[str, Any]]) -> None:
    import json

    typer.echo(json.dumps(document, indent=1, allow_nan=False))


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
