"""A failing case as a file: JSON with every number in hexadecimal, to be run again anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.catalogue import OPTIMIZERS, spec_of
from twingrad.core.errors import DataError, TwingradError
from twingrad.core.files import whole_file
from twingrad.core.spec import Array
from twingrad.parity_tests.judge.case import Case, Walk

SCHEMA = 1
KIND = "twingrad case"


def save(case: Case | Walk, folder: Path, headline: str) -> Path:
    """Write a case into `folder`; the same case has the same name."""
    content = {"kind": KIND, "schema": SCHEMA, "found": headline} | written(case)
    text = json.dumps(content, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    subject = case.spec if isinstance(case, Case) else case.optimizer
    path = folder / f"{subject.name}-{case.dtype}-{digest}.json"
    with whole_file(path) as file:
        file.write(text.encode())
    return path


def load(path: Path) -> Case | Walk:
    """Return the case in a file; raise DataError for a file that holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("kind") != KIND or content.get("schema") != SCHEMA:
            raise DataError(f"{path} is not a replay file of twingrad parity (schema {SCHEMA})")
        return read(content)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except TwingradError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a replay file of twingrad parity: {error}") from None


def written(case: Case | Walk) -> dict[str, Any]:
    """Return a case, or an optimizer's walk, as JSON, every bit of it."""
    if isinstance(case, Walk):
        settings = {name: setting_out(value) for name, value in case.settings.items()}
        return {
            "optimizer": case.optimizer.name,
            "dtype": case.dtype,
            "settings": settings,
            "seed": case.seed,
        }
    return {
        "layer": case.spec.name,
        "settings": {name: setting_out(value) for name, value in case.settings.items()},
        "inputs": {name: _array_out(array) for name, array in case.inputs.items()},
        "grad_y": _array_out(case.grad_y),
    }


def read(content: Mapping[str, Any]) -> Case | Walk:
    """Return what was written."""
    if "optimizer" in content:
        settings = {name: setting_in(value) for name, value in content["settings"].items()}
        return Walk(OPTIMIZERS[content["optimizer"]], content["dtype"], settings, content["seed"])
    return Case(
        spec_of(content["layer"]),
        {name: _array_in(array) for name, array in content["inputs"].items()},
        {name: setting_in(value) for name, value in content["settings"].items()},
        _array_in(content["grad_y"]),
    )


def _array_out(array: Array) -> dict[str, Any]:
    flat = array.reshape(-1).tolist()
    values = [float(value).hex() for value in flat] if array.dtype.kind == "f" else flat
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": values}


def _array_in(written: dict[str, Any]) -> Array:
    dtype = np.dtype(written["dtype"])
    if dtype.kind not in "fbi":
        raise DataError(f"an array of a replay file must be of numbers or bool; got {dtype}")
    values = written["values"]
    if dtype.kind == "f":
        values = [float.fromhex(value) for value in values]
    return np.array(values, dtype).reshape(written["shape"])


def setting_out(value: Any) -> Any:
    """Return a setting as JSON; what JSON has no word for becomes an object with one key."""
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist()}
    if isinstance(value, tuple):
        return {"tuple": [setting_out(part) for part in value]}
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value


def setting_in(written: Any) -> Any:
    """Return the setting that was written."""
    if not isinstance(written, dict):
        return written
    ((kind, value),) = written.items()
    if kind == "slice":
        return slice(*value)
    if kind == "ellipsis":
        return Ellipsis
    if kind == "array":
        return np.array(value)
    return tuple(setting_in(part) for part in value)
