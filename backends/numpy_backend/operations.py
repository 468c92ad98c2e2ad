"""The structure operations by hand: a forward and a backward each.

Every forward returns (y, saved), every backward the gradients in the order of the inputs. The
functions (exp, log, pow, and sqrt's gradient) are computed in float64 and rounded once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from twingrad.backends.numpy_backend.sums import sum_over
from twingrad.core.spec import Array


class Saved(NamedTuple):
    """What a backward needs: some arrays, and the shapes that the inputs had."""

    arrays: tuple[Array, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    setting: Any = None


Forward = Callable[..., tuple[Array, Saved]]
Backward = Callable[[Array, Saved], tuple[Array, ...]]


def _sum_to(grad: Array, shape: tuple[int, ...]) -> Array:
    """Undo a broadcast: add up grad over every axis along which `shape` was stretched."""
    if grad.shape == shape:
        return grad
    lead = grad.ndim - len(shape)
    stretched = tuple(
        axis for axis in range(grad.ndim) if axis < lead or shape[axis - lead] != grad.shape[axis]
    )
    return sum_over(grad, stretched).reshape(shape)


def _add(x: Array, y: Array) -> tuple[Array, Saved]:
    return x + y, Saved(shapes=(x.shape, y.shape))


def _add_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    return _sum_to(grad, saved.shapes[0]), _sum_to(grad, saved.shapes[1])


def _sub(x: Array, y: Array) -> tuple[Array, Saved]:
    return x - y, Saved(shapes=(x.shape, y.shape))


def _sub_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    return _sum_to(grad, saved.shapes[0]), _sum_to(-grad, saved.shapes[1])


def _mul(x: Array, y: Array) -> tuple[Array, Saved]:
    return x * y, Saved((x, y))


def _mul_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    x, y = saved.arrays
    return _sum_to(grad * y, x.shape), _sum_to(grad * x, y.shape)


def _div(x: Array, y: Array) -> tuple[Array, Saved]:
    return x / y, Saved((x, y))


def _div_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    x, y = saved.arrays
    return _sum_to(grad / y, x.shape), _sum_to(-grad * (x / y / y), y.shape)


def _power(x: Array, y: Array) -> Array:
    """Return x^y in float64."""
    # For a single exponent of 0.5 NumPy takes the root, which is NaN at -inf and -0 at -0.
    is_root = (y == 0.5) & ((x == 0) | np.isinf(x))
    power: Array = np.power(np.where(is_root, np.abs(x), x), y, dtype=np.float64)
    return power


def _pow(x: Array, y: Array) -> tuple[Array, Saved]:
    return _power(x, y).astype(x.dtype), Saved((x, y))


def _pow_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    """grad_x = grad * y * x^(y - 1), 0 where y = 0; grad_y = grad * x^y * log(x), 0 at x = 0."""
    x, y = (array.astype(np.float64) for array in saved.arrays)
    grad_x = np.where(y == 0, 0, grad * (y * _power(x, y - 1)))
    grad_y = np.where((x == 0) & (y >= 0), 0, grad * (_power(x, y) * np.log(x)))
    return (
        _sum_to(grad_x, x.shape).astype(grad.dtype),
        _sum_to(grad_y, y.shape).astype(grad.dtype),
    )


def _neg(x: Array) -> tuple[Array, Saved]:
    return -x, Saved()


def _neg_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    return (-grad,)


def _exp(x: Array) -> tuple[Array, Saved]:
    y = np.exp(x, dtype=np.float64).astype(x.dtype)
    return y, Saved((y,))


def _exp_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    return (grad * saved.arrays[0],)


def _log(x: Array) -> tuple[Array, Saved]:
    return np.log(x, dtype=np.float64).astype(x.dtype), Saved((x,))


def _log_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    return (grad / saved.arrays[0],)


def _sqrt(x: Array) -> tuple[Array, Saved]:
    return np.sqrt(x), Saved((x,))


def _sqrt_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    # Rounded once: a float32 root would bring a rounding of its own.
    return ((grad / (2 * np.sqrt(saved.arrays[0], dtype=np.float64))).astype(grad.dtype),)


def _matmul(x: Array, y: Array) -> tuple[Array, Saved]:
    return x @ y, Saved((x, y))


def _matmul_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    """grad_x = grad @ y.T, grad_y = x.T @ grad, with a vector seen as the matrix it stands for."""
    x, y = saved.arrays
    row, column = (x[None] if x.ndim == 1 else x), (y[:, None] if y.ndim == 1 else y)
    if y.ndim == 1:
        grad = np.expand_dims(grad, -1)
    if x.ndim == 1:
        grad = np.expand_dims(grad, -2)
    grad_x = _sum_to(grad @ column.swapaxes(-1, -2), row.shape)
    grad_y = _sum_to(row.swapaxes(-1, -2) @ grad, column.shape)
    return grad_x.reshape(x.shape), grad_y.reshape(y.shape)


def _sum(x: Array, axis: Any = None, keepdim: bool = False) -> tuple[Array, Saved]:
    return sum_over(x, axis, keepdim), Saved(shapes=(x.shape,), setting=axis)


def _sum_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    (shape,), axis = saved.shapes, saved.setting
    kept = np.sum(np.broadcast_to(False, shape), axis=axis, keepdims=True).shape
    return (np.broadcast_to(grad.reshape(kept), shape),)


def _mean(x: Array, axis: Any = None, keepdim: bool = False) -> tuple[Array, Saved]:
    total, saved = _sum(x, axis, keepdim)
    return total / total.dtype.type(_summands(x.size, total)), saved


def _mean_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    size = int(np.prod(saved.shapes[0]))
    return _sum_backward(grad / grad.dtype.type(_summands(size, grad)), saved)


def _summands(size: int, total: Array) -> int:
    return max(size // max(total.size, 1), 1)


def _reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, Saved]:
    return x.reshape(shape), Saved(shapes=(x.shape,))


def _reshape_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    return (grad.reshape(saved.shapes[0]),)


def _transpose(x: Array, axes: tuple[int, ...] | None = None) -> tuple[Array, Saved]:
    axes = tuple(range(x.ndim))[::-1] if axes is None else axes
    return x.transpose(axes), Saved(setting=axes)


def _transpose_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    axes = [axis % grad.ndim for axis in saved.setting]
    return (grad.transpose(np.argsort(axes)),)


def _getitem(x: Array, index: Any = ()) -> tuple[Array, Saved]:
    return x[index], Saved(shapes=(x.shape,), setting=index)


def _getitem_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    (shape,), index = saved.shapes, saved.setting
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, np.ndarray | list) for part in parts):
        # An element that was picked twice gets both gradients, which plain += would drop; one that
        # was picked often gets them one after the other, so they are added in float64.
        total = np.zeros(shape, np.promote_types(grad.dtype, np.float64))
        np.add.at(total, index, grad)
        return (total.astype(grad.dtype, copy=False),)
    grad_x = np.zeros(shape, grad.dtype)
    grad_x[index] = grad
    return (grad_x,)


def _concat(axis: int = 0, **arrays: Array) -> tuple[Array, Saved]:
    shapes = tuple(array.shape for array in arrays.values())
    return np.concatenate(tuple(arrays.values()), axis=axis), Saved(shapes=shapes, setting=axis)


def _concat_backward(grad: Array, saved: Saved) -> tuple[Array, ...]:
    lengths = [shape[saved.setting] for shape in saved.shapes]
    return tuple(np.split(grad, np.cumsum(lengths)[:-1], axis=saved.setting))


OPERATIONS: dict[str, tuple[Forward, Backward]] = {
    "add": (_add, _add_backward),
    "sub": (_sub, _sub_backward),
    "mul": (_mul, _mul_backward),
    "div": (_div, _div_backward),
    "pow": (_pow, _pow_backward),
    "neg": (_neg, _neg_backward),
    "exp": (_exp, _exp_backward),
    "log": (_log, _log_backward),
    "sqrt": (_sqrt, _sqrt_backward),
    "matmul": (_matmul, _matmul_backward),
    "sum": (_sum, _sum_backward),
    "mean": (_mean, _mean_backward),
    "reshape": (_reshape, _reshape_backward),
    "transpose": (_transpose, _transpose_backward),
    "getitem": (_getitem, _getitem_backward),
    "concat": (_concat, _concat_backward),
}
