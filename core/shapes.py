"""Shape strings: "... q d" means a leading shape of any rank, then lengths called q and d."""

from __future__ import annotations

from collections.abc import Mapping

from twingrad.core.errors import ShapeError
from twingrad.core.spec import LayerSpec

Shape = tuple[int, ...]
Lengths = dict[str, Shape]  # "..." to its lengths, any other name to the one length it has


def bind(spec: LayerSpec, shapes: Mapping[str, Shape]) -> Lengths:
    """Return the lengths that the names in `spec` stand for, given each input's shape.

    Raises ShapeError, naming the first input that contradicts those bound before it. Inputs
    without `...` (weights) are bound first, so that it is the data that gets the blame.
    """
    lengths: Lengths = {}
    bound_by: dict[str, str] = {}
    for name in sorted(
        shapes, key=lambda name: (name in spec.broadcast, "..." in spec.inputs[name])
    ):
        text, shape = spec.inputs[name], shapes[name]
        if name in spec.broadcast:
            _check_broadcast(spec, name, shape, lengths)
            continue
        found = _match(text, shape)
        clash = next(
            (
                dim
                for dim in text.split()
                if lengths.get(dim, (found or {}).get(dim)) != (found or {}).get(dim)
            ),
            None,
        )
        if found is None or clash is not None:
            known = clash or next((dim for dim in text.split() if dim in bound_by), None)
            raise ShapeError(_clash_message(spec, name, shapes, lengths, bound_by.get(known or "")))
        for dim in found:
            bound_by.setdefault(dim, name)
        lengths |= found
    return lengths


def written(text: str, lengths: Lengths | None = None) -> str:
    """Write a shape string as a tuple, with the lengths that are known: "... in" -> "(..., 3)"."""
    parts: list[str] = []
    for dim in text.split():
        parts.extend(map(str, (lengths or {}).get(dim, (dim,))))
    return (
        f"({', '.join(parts)},)"
        if len(parts) == 1 and parts != ["..."]
        else f"({', '.join(parts)})"
    )


def _match(text: str, shape: Shape) -> Lengths | None:
    """Return what each name in `text` stands for if `shape` has that form, else None."""
    dims = text.split()
    named = [dim for dim in dims if dim != "..."]
    if len(shape) < len(named) or (len(named) == len(dims) and len(shape) != len(dims)):
        return None
    lead = len(shape) - len(named)
    lengths: Lengths = {"...": shape[:lead]} if "..." in dims else {}
    for dim, length in zip(named, shape[lead:], strict=True):
        if lengths.setdefault(dim, (length,)) != (length,):
            return None
    return lengths


def _check_broadcast(spec: LayerSpec, name: str, shape: Shape, lengths: Lengths) -> None:
    text = spec.inputs[name]
    full = tuple(length for dim in text.split() for length in lengths[dim])
    pairs = zip(reversed(shape), reversed(full), strict=False)
    if len(shape) > len(full) or any(length not in (1, wanted) for length, wanted in pairs):
        raise ShapeError(
            f"{spec.name}: {name} must broadcast to {written(text)} = {full}; "
            f"got {name} of shape {shape}"
        )


def _clash_message(
    spec: LayerSpec, name: str, shapes: Mapping[str, Shape], lengths: Lengths, other: str | None
) -> str:
    got = f"got {name} of shape {shapes[name]}"
    wanted = f"{name} must be {written(spec.inputs[name], lengths)}"
    if other is None:
        return f"{spec.name}: {wanted}; {got}"
    form = f"{other} is {written(spec.inputs[other])} = {shapes[other]}"
    return f"{spec.name}: {form}, so {wanted}; {got}"
