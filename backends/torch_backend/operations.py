"""The structure operations in PyTorch: its own, under NumPy's names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def _sum(x: Tensor, axis: Any = None, keepdim: bool = False) -> Tensor:
    return torch.sum(x, dim=_axes(x, axis), keepdim=keepdim)


def _mean(x: Tensor, axis: Any = None, keepdim: bool = False) -> Tensor:
    total = _sum(x, axis, keepdim)
    # The mean of nothing is 0, where torch says 0 / 0.
    return total / max(x.numel() // max(total.numel(), 1), 1)


def _axes(x: Tensor, axis: Any) -> Any:
    # torch reads an empty tuple as all axes, NumPy as none.
    return tuple(range(x.ndim)) if axis is None else axis


def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(shape)


def _transpose(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    return x.permute(tuple(range(x.ndim))[::-1] if axes is None else axes)


def _getitem(x: Tensor, index: Any = ()) -> Tensor:
    parts = index if isinstance(index, tuple) else (index,)
    indices = tuple(
        torch.from_numpy(np.array(part)) if isinstance(part, np.ndarray | list) else part
        for part in parts
    )
    if any(isinstance(part, Tensor) for part in indices):
        # The gradients of a row that is picked often are added one after the other: in float64.
        return x.double()[indices].to(x.dtype)
    return x[indices]


def _concat(*tensors: Tensor, axis: int = 0, **named: Tensor) -> Tensor:
    return torch.cat(tensors or tuple(named.values()), dim=axis)


def _binary(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, y: operation(x, y)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "div": _binary(torch.div),
    "pow": _binary(torch.pow),
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "matmul": _binary(torch.matmul),
    "sum": _sum,
    "mean": _mean,
    "reshape": _reshape,
    "transpose": _transpose,
    "getitem": _getitem,
    "concat": _concat,
}
