"""Checkpoints: one safetensors file that continues training on either backend.

Parameters stand under "model.<name>", optimizer state under "optimizer.<number>.<array>"; what is
not an array (steps, settings, random draws so far) is JSON in the file's header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from twingrad.core.errors import CheckpointError, TwingradError
from twingrad.core.files import whole_file
from twingrad.core.spec import Arrays
from twingrad.core.state import to_numpy

FORMAT = 1
PREFIX = "model."  # of the parameters' names


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says beside the arrays: the step, and whatever the caller added."""

    step: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: str | Path,
    *,
    model: Any,
    optimizer: Any = None,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model, and what it takes to go on training it, whole or not at all.

    `extra` is anything that JSON can hold. Raises OutputError if the file cannot be written.
    """
    arrays: Arrays = {
        f"{PREFIX}{name}": to_numpy(value) for name, value in model.state_dict().items()
    }
    notes: dict[str, Any] = {"format": FORMAT, "step": step, "extra": extra or {}}
    notes["draws"] = {
        name: [module.draws.seed, module.draws.count]
        for name, module in model.named_modules()
        if module.draws is not None
    }
    if optimizer is not None:
        state = optimizer.state_dict()
        notes["optimizer"] = {
            "name": optimizer.spec.name,
            "param_groups": state["param_groups"],
            "steps": {number: entries["step"] for number, entries in state["state"].items()},
        }
        for number, entries in state["state"].items():
            for name, value in entries.items():
                if name != "step":
                    arrays[f"optimizer.{number}.{name}"] = to_numpy(value)
    try:
        header = json.dumps(notes, default=_number)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: extra must be what JSON can hold: {error}") from None
    write_arrays(Path(path), arrays, {"twingrad": header})


def read_notes(path: str | Path) -> Checkpoint:
    """Return what a checkpoint says beside the arrays, without reading them.

    Raises CheckpointError if the file is damaged.
    """
    _, notes = _read(Path(path), prefix=None)
    return Checkpoint(notes["step"], notes["extra"])


def load_checkpoint(path: str | Path, *, model: Any = None, optimizer: Any = None) -> Checkpoint:
    """Restore a model, and an optimizer over its parameters, on whichever backend they are.

    Raises CheckpointError, before anything is changed, if the file is damaged or another model's.
    """
    arrays, notes = _read(Path(path))
    model_state = _without_prefix(arrays)
    try:
        if optimizer is not None:
            before = optimizer.state_dict()
            optimizer.load_state_dict(_optimizer_state(arrays, notes, optimizer))
        if model is not None:
            try:
                model.load_state_dict(model_state)
            except TwingradError:
                if optimizer is not None:
                    optimizer.load_state_dict(before)
                raise
            for name, module in model.named_modules():
                if module.draws is not None and name in notes["draws"]:
                    module.draws.seed, module.draws.count = notes["draws"][name]
    except TwingradError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Checkpoint(notes["step"], notes["extra"])


def load_parameters(path: str | Path) -> tuple[Arrays, Checkpoint]:
    """Return a checkpoint's parameters by name, for whoever makes the model after a look at them.

    Raises CheckpointError if the file is damaged or no checkpoint.
    """
    arrays, notes = _read(Path(path), PREFIX)
    return _without_prefix(arrays), Checkpoint(notes["step"], notes["extra"])


def read_arrays(path: Path, prefix: str | None = "") -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a safetensors file whose names begin so, and the file's metadata.

    With a prefix of None no array is read. bfloat16, which NumPy lacks, becomes float32. Raises
    CheckpointError if the file is damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    arrays: Arrays = {}
    bfloat16 = []
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                if prefix is None or not name.startswith(prefix):
                    continue
                if file.get_slice(name).get_dtype() == "BF16":
                    bfloat16.append(name)
                else:
                    arrays[name] = file.get_tensor(name)
            metadata = file.metadata() or {}
        arrays |= _widened(path, bfloat16)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: it is damaged or no checkpoint: {error}") from None
    return arrays, metadata


def write_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises OutputError."""
    content = save(arrays, metadata=dict(metadata))
    with whole_file(path) as file:
        file.write(content)


def _widened(path: Path, names: list[str]) -> Arrays:
    """Return bfloat16 arrays of a file whose header was checked as float32, bit for bit."""
    if not names:
        return {}
    arrays: Arrays = {}
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        for name in names:
            first, end = header[name]["data_offsets"]
            file.seek(start + first)
            bits = np.frombuffer(file.read(end - first), "<u2").astype(np.uint32) << 16
            arrays[name] = bits.view(np.float32).reshape(header[name]["shape"])
    return arrays


def _without_prefix(arrays: Arrays) -> Arrays:
    return {
        name.removeprefix(PREFIX): array
        for name, array in arrays.items()
        if name.startswith(PREFIX)
    }


def _number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not")


def _optimizer_state(arrays: Arrays, notes: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
    saved = notes.get("optimizer")
    if saved is None:
        raise CheckpointError("it holds no optimizer state")
    try:
        kind, groups = saved["name"], saved["param_groups"]
        state: dict[int, dict[str, Any]] = {
            int(number): {"step": int(step)} for number, step in saved["steps"].items()
        }
        for key, array in arrays.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                state[int(number)][name] = array
        damaged = any(not isinstance(group["params"], list) for group in groups)
    except (KeyError, TypeError, ValueError, AttributeError):
        damaged = True
    if damaged:
        raise CheckpointError("its optimizer state is damaged")
    if kind != optimizer.spec.name:
        raise CheckpointError(f"it holds the state of {kind}, not of {optimizer.spec.name}")
    return {"state": state, "param_groups": groups}


def _read(path: Path, prefix: str | None = "") -> tuple[Arrays, dict[str, Any]]:
    arrays, metadata = read_arrays(path, prefix)
    header = metadata.get("twingrad")
    if header is None:
        raise CheckpointError(f"{path}: it is a safetensors file, but no twingrad checkpoint")
    try:
        notes = json.loads(header)
    except ValueError as error:
        raise CheckpointError(f"{path}: its header is damaged: {error}") from None
    if not isinstance(notes, dict) or notes.get("format") != FORMAT:
        found = notes.get("format") if isinstance(notes, dict) else None
        raise CheckpointError(f"{path}: its format is {found}, and this version reads {FORMAT}")
    for name, kind in (("step", int), ("extra", dict), ("draws", dict)):
        if not isinstance(notes.get(name), kind):
            raise CheckpointError(f"{path}: its header is damaged: it has no {name}")
    try:
        draws = {name: (int(seed), int(count)) for name, (seed, count) in notes["draws"].items()}
    except (TypeError, ValueError):
        raise CheckpointError(f"{path}: its header is damaged: draws are not numbers") from None
    return arrays, {**notes, "draws": draws}
