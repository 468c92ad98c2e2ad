"""How long the dimensions of a layer's arrays are: by a rule, so that any layer can be measured."""

from __future__ import annotations

import math

from twingrad.benchmarks.pages import said_of
from twingrad.core.errors import RegistrationError
from twingrad.core.shapes import Lengths
from twingrad.core.spec import LayerSpec

# Of each size: what `...` stands for where it stands alone. No array gets more elements than that.
PLANES = {"small": (64, 256), "medium": (1024, 1024), "large": (4096, 2048)}
WIDTHS = {"small": 256, "medium": 512, "large": 2048}  # of a dimension that has a name, at the most
ENTRIES = {"small": 1000, "medium": 8000, "large": 30522}  # of what integers are looked up in


def lengths_of(spec: LayerSpec, size: str) -> Lengths:
    """Return the lengths of a layer's dimensions: its page's, else those of the rule.

    Raises RegistrationError if the page leaves one out.
    """
    lengths: Lengths = said_of(spec.name, "LENGTHS", {}).get(size) or by_rule(spec, size)
    for text in (*spec.inputs.values(), spec.output):
        for dim in _dims(text):
            if dim not in lengths:
                raise RegistrationError(
                    f"layer {spec.name!r}: LENGTHS[{size!r}] of its bench page must have a tuple "
                    f"of lengths for {dim!r}; it has {', '.join(lengths)}"
                )
    return lengths


def by_rule(spec: LayerSpec, size: str) -> Lengths:
    """Return lengths for any layer, at which its arrays have about as many elements as others'.

    All dimensions that have a name are of one length, but those that integers are looked up in.
    """
    shapes = [_dims(text) for text in (*spec.inputs.values(), spec.output)]
    lengths: Lengths = dict.fromkeys(spec.indices.values(), (ENTRIES[size],))
    most = math.prod(PLANES[size])
    width = WIDTHS[size]
    for dims in shapes:
        free = [dim for dim in dims if dim != "..." and dim not in lengths]
        looked_up = math.prod(lengths[dim][0] for dim in dims if dim in lengths)
        width = min(width, _power_of_two(max(1, most // looked_up), len(free)))
    lengths |= {
        dim: (width,) for dims in shapes for dim in dims if dim != "..." and dim not in lengths
    }
    leading = [dims for dims in shapes if "..." in dims]
    if not leading:
        return lengths
    if not lengths:
        return {"...": PLANES[size]}
    largest = max(math.prod(lengths[dim][0] for dim in dims if dim != "...") for dims in leading)
    return {"...": (max(1, most // largest),)} | lengths


def lengths_text(lengths: Lengths) -> str:
    """Write lengths in words: 2x8, q 256, d 64."""
    return ", ".join(
        "x".join(map(str, shape)) if dim == "..." else f"{dim} {shape[0]}"
        for dim, shape in lengths.items()
    )


def _dims(text: str) -> list[str]:
    """Return the dimensions in a shape string; that of a loss ends with "or scalar"."""
    return [dim for dim in text.split() if dim not in ("or", "scalar")]


def _power_of_two(most: int, count: int) -> int:
    """Return the highest power of two of which the product of `count` is at most `most`."""
    return 1 << (most.bit_length() - 1) // max(1, count)
