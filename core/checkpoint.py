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
        f"model.{name}": to_numpy(value) for name, value in model.state_dict().items()
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
    content = save(arrays, metadata={"twingrad": header})
    with whole_file(Path(path)) as file:
        file.write(content)


def read_notes(path: str | Path) -> Checkpoint:
    """Return what a checkpoint says beside the arrays, without reading them.

    Raises CheckpointError if the file is damaged.
    """
    _, notes = _read(Path(path), with_arrays=False)
    return Checkpoint(notes["step"], notes["extra"])


def load_checkpoint(path: str | Path, *, model: Any = None, optimizer: Any = None) -> Checkpoint:
    """Restore a model, and an optimizer over its parameters, on whichever backend they are.

    Raises CheckpointError, before anything is changed, if the file is damaged or another model's.
    """
    arrays, notes = _read(Path(path))
    prefix = "model."
    model_state = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
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


def _read(path: Path, with_arrays: bool = True) -> tuple[Arrays, dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get("twingrad")
            names = file.keys() if with_arrays else ()
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: it is damaged or no checkpoint: {error}") from None
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
