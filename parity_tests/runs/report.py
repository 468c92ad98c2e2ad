"""The report of a run: report.json for programs, and one index.html for people.

The page holds its data, its style and its script, and asks the network for nothing.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import twingrad
from twingrad.core.catalogue import LAYERS, OPTIMIZERS
from twingrad.core.environment import environment
from twingrad.core.files import whole_file
from twingrad.core.operations import OPERATIONS
from twingrad.parity_tests.judge.constants import constant, recorded
from twingrad.parity_tests.judge.options import DTYPES, FAILURES, Options
from twingrad.parity_tests.judge.record import BINS, FIRST
from twingrad.parity_tests.runs.suite import Collector

SCHEMA = 1
HERE = Path(__file__).parent
TEMPLATE = HERE / "report.html"
PLACE = "__REPORT__"  # where the template takes the data
LONGEST = 6000  # characters of one case's inputs, or of one message
SPECS = LAYERS | OPERATIONS
NAMES = (*SPECS, *OPTIMIZERS)

# Results of longer runs: where they are looked for in turn, the key that holds them, how to get one
MINE, SHIPPED = FAILURES.parent, HERE / "results"
OTHERS: dict[str, tuple[tuple[Path, ...], str, str]] = {
    "exhaustive": (
        (MINE / "exhaustive" / "exhaustive.json", SHIPPED / "exhaustive.json"),
        "rows",
        "twingrad parity --exhaustive",
    ),
    "mutants": (
        (MINE / "mutants.json", SHIPPED / "mutants.json"),
        "matrix",
        f"twingrad mutants --json {MINE / 'mutants.json'}",
    ),
}


def write(folder: Path, collector: Collector, seconds: float) -> Path:
    """Write report.json and index.html into `folder`; return the path of the page.

    Raises OutputError if the folder or a file cannot be written.
    """
    folder = Path(folder)
    content = document(folder, collector, seconds)
    # In a script element only "<" could begin something that ends it.
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace(PLACE, data)
    with whole_file(folder / "report.json") as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")
    with whole_file(folder / "index.html") as file:
        file.write(page.encode())
    return folder / "index.html"


def document(folder: Path, collector: Collector, seconds: float) -> dict[str, Any]:
    """Return all that the page shows, ready for JSON: NaN and infinity are words."""
    options = collector.options
    outcomes = [law["outcome"] for law in collector.laws]
    found = {name: _newest(*where) for name, where in OTHERS.items()}
    content = {
        "schema": SCHEMA,
        "twingrad": twingrad.__version__,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": _command(options, folder),
        "options": asdict(options) | {"backends": options.backends},
        "environment": environment(),
        "summary": {
            "passed": collector.passed,
            "failed": collector.failed,
            "expected": outcomes.count("expected"),
            "seconds": round(seconds, 1),
            "cases": sum(row.count for row in collector.rows.values()),
        },
        "laws": sorted((_law(law) for law in collector.laws), key=lambda law: str(law["node"])),
        "rows": sorted((_row(row) for row in collector.measured), key=_place),
        "findings": _findings(collector.laws),
        "other": [
            {"node": node, "text": _cut(text, from_the_end=True), "layer": layer}
            for node, text, layer in collector.other
        ],
        "bins": _bins(),
        **{name: content for name, (content, _) in found.items()},
        "sources": {name: source for name, (_, source) in found.items()},
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _command(options: Options, folder: Path) -> str:
    again = options.command(",".join(options.layers), ",".join(options.dtypes))
    if not options.layers:
        again = again.replace(" --layers ", "", 1)
    return f"{again} --report {shlex.quote(str(folder))}"


def _law(law: Mapping[str, Any]) -> dict[str, Any]:
    # A law that is not run for every spec may still name a layer and a dtype in its parameters.
    parameters = str(law["node"]).partition("[")[2]
    named = re.match(r"(\w+)[- \]]", parameters)
    layer = law.get("layer") or (named[1] if named and named[1] in NAMES else None)
    parts = re.split(r"[-\]]", parameters)
    findings = law.get("findings", ()) if law["outcome"] == "failed" else ()
    dtype = law.get("dtype") or next((name for name in DTYPES if name in parts), None)
    return {
        "node": law["node"],
        "file": law.get("file"),
        "law": law.get("law"),
        "layer": layer,
        "dtype": dtype,
        "outcome": law["outcome"],
        "seconds": law["seconds"],
        "message": _cut(law["message"], from_the_end=True),
        "wrong": sorted({name for found in findings for name in found["wrong"]}),
        "worse": sorted({name for found in findings for name in found["worse"]}),
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    key = (row["layer"], row["what"], row["dtype"])
    worst = dict(row["worst"]) or None
    if worst is not None:
        worst["inputs"] = _cut(str(worst.get("inputs", "")))
    c = constant(*key)
    measures = {"share": row["ratio"] / c, "c": c, "recorded": recorded(*key, row["backend"])}
    return dict(row) | measures | {"worst": worst}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    layer, what = row["layer"], row["what"]
    # What no table names, a layer of someone else's, comes last.
    at = NAMES.index(layer) if layer in NAMES else len(NAMES)
    tensors = [f"grad_{name}" for name in SPECS[layer].inputs] if layer in SPECS else []
    tensor = tensors.index(what) if what in tensors else -1
    return (at, layer, tensor, what, row["dtype"], row["backend"], row["law"])


def _findings(laws: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the plainest disagreement of each layer, dtype and tensor."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for law in laws:
        if law["outcome"] == "failed":
            where = {name: law.get(name) for name in ("node", "law", "layer", "dtype")}
            for finding in law.get("findings", ()):
                key = (law.get("layer"), law.get("dtype"), finding["tensor"])
                one = where | dict(finding)
                found[key] = min(found.get(key, one), one, key=lambda it: len(it["text"]))
    return [one | {"text": _cut(one["text"])} for one in found.values()]


def _bins() -> dict[str, Any]:
    """Return what the counts mean: how many errors lie from `lower` up to, without, `upper`."""
    edges = [2.0**power for power in range(FIRST, FIRST + BINS - 2)]
    return {
        "unit": "ulp",
        "lower": [0.0, 0.0, *edges],
        "upper": [0.0, *edges, math.inf],
        "text": f"the first bin counts errors of exactly 0, the second those below {edges[0]:g} "
        f"ulp, each other one those from a power of two up to the next, the last all from "
        f"{edges[-1]:g} ulp on",
    }


def _newest(paths: Iterable[Path], key: str, command: str) -> tuple[dict[str, Any] | None, str]:
    """Return the first result that there is, and where it is from or how to make one."""
    damaged = ""
    for path in paths:
        # Of the shipped results only the name is shown: where a package lies says nothing.
        name = path.name if path.is_absolute() else str(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["schema"] == 1 and key in content:
                return content, name
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no result, or none of this schema
        damaged = damaged or f"{name} cannot be read; "
    return None, f"{damaged}make it with: {command}"


def _cut(text: str, from_the_end: bool = False) -> str:
    """Return a text that is not too long, with a note of what is left out."""
    left = len(text) - LONGEST
    if left <= 0:
        return text
    note = f"[{left:,} characters are left out]"
    return f"{note}\n{text[-LONGEST:]}" if from_the_end else f"{text[:LONGEST]}\n{note}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
