"""A tensor: an array on the tape, with PyTorch's methods, and what applies a layer to tensors."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from twingrad.backends.numpy_backend.dispatch import run_forward
from twingrad.backends.numpy_backend.kernels import KERNELS
from twingrad.backends.numpy_backend.tape import Applied, Node, recording, walk
from twingrad.core.arguments import no_gradient
from twingrad.core.errors import BackendError, GradientError, ShapeError
from twingrad.core.operations import OPERATIONS
from twingrad.core.registry import owner
from twingrad.core.spec import Array, LayerSpec


class Tensor:
    """An array with a gradient: the NumPy side's counterpart of torch.Tensor, method by method."""

    __slots__ = (
        "__weakref__",
        "_grad",
        "_node",
        "data",
        "is_parameter",
        "requires_grad",
        "version",
    )
    # NumPy arrays leave `array * tensor` to the tensor; without this they would drop the tape.
    __array_ufunc__ = None

    def __init__(self, data: Array, requires_grad: bool = False, node: Node | None = None) -> None:
        self.data = data
        self.requires_grad = requires_grad
        self._node = node
        self._grad: Tensor | None = None
        self.version: int = 0  # of a leaf: how often it was changed in place
        self.is_parameter = False

    # What it holds

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward() left here, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | Array | None) -> None:
        if value is None:
            self._grad = None
            return
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        if array.shape != self.shape:
            raise ShapeError(
                f"grad: the tensor has shape {self.shape}, so grad must; got {array.shape}"
            )
        self._grad = Tensor(array.astype(self.dtype))

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        return self.data.size

    def item(self) -> float:
        if self.data.size != 1:
            raise ShapeError(f"item: a tensor of one element is needed; got shape {self.shape}")
        return float(self.data.item())

    def numpy(self) -> Array:
        """Return a copy of the values."""
        return self.data.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a tensor gives its values away as a copy only")
        return self.data.astype(dtype or self.dtype, copy=True)

    def __float__(self) -> float:
        return float(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        values = np.array2string(self.data, separator=", ", prefix="tensor(")
        return f"tensor({values}{', requires_grad=True' if self.requires_grad else ''})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise GradientError("deepcopy: only a leaf can be copied; call detach() first")
        copy = memo[id(self)] = Tensor(self.data.copy(), self.requires_grad)
        copy.is_parameter = self.is_parameter
        copy._grad = None if self._grad is None else Tensor(self._grad.data.copy())
        return copy

    def __reduce__(self) -> Any:
        raise TypeError("a tensor is not pickled; save models with twingrad.save_checkpoint")

    # Its place on the tape

    def detach(self) -> Tensor:
        """Return the same values, cut off from the tape."""
        return Tensor(self.data)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if self._node is not None and not requires_grad:
            raise GradientError(
                "requires_grad_: only a leaf can stop requiring a gradient; use detach()"
            )
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in .grad, as leaves do."""
        if self._node is not None:
            self._node.retained = weakref.ref(self)

    def replace_(self, data: Array) -> None:
        """Put new values in place; a tape that still needs the old ones will refuse to run."""
        self.data[...] = data
        (self._node or self).version += 1

    def backward(self, gradient: Tensor | Array | None = None, retain_graph: bool = False) -> None:
        """Add the gradient of this value to .grad of every leaf that it was computed from.

        `gradient` is the upstream gradient, of this tensor's shape; a tensor of one element may do
        without. Raises GradientError if there is no tape, or if it has been freed.
        """
        if not self.requires_grad:
            raise GradientError(
                "backward: nothing that this value was computed from requires a gradient, "
                "or it was computed under no_grad()"
            )
        with np.errstate(all="ignore"):
            walk(self, self._upstream(gradient), retain_graph)

    def _add_grad(self, grad: Array, among: Sequence[Array | None], in_place: bool) -> None:
        """Add to .grad, or keep `grad` itself, unless it is a view or stands twice in `among`."""
        if self._grad is not None:
            total = np.add(self._grad.data, grad, out=self._grad.data if in_place else None)
            grad = np.asarray(total)  # of two arrays without axes, NumPy makes a mere number
        elif grad.base is not None or [one is grad for one in among].count(True) > 1:
            grad = grad.copy()
        self._grad = Tensor(grad)

    def _upstream(self, gradient: Tensor | Array | None) -> Array:
        if gradient is None:
            if self.data.size != 1:
                raise GradientError(
                    f"backward: the value has shape {self.shape}, so a gradient of that shape is "
                    f"needed; got none (sum it or take its mean to have one number)"
                )
            return np.ones(self.shape, self.dtype)
        array = gradient.data if isinstance(gradient, Tensor) else np.asarray(gradient)
        if array.shape != self.shape:
            raise ShapeError(
                f"backward: the value has shape {self.shape}, so gradient must be {self.shape}; "
                f"got {array.shape}"
            )
        return array.astype(self.dtype)

    # Structure operations

    def __add__(self, other: Any) -> Tensor:
        return _binary("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _binary("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _binary("sub", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _binary("sub", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _binary("mul", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _binary("mul", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _binary("div", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _binary("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _binary("pow", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _binary("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _binary("matmul", other, self)

    def __neg__(self) -> Tensor:
        return apply(OPERATIONS["neg"], {"x": self}, {})

    def __getitem__(self, index: Any) -> Tensor:
        parts = index if isinstance(index, tuple) else (index,)
        arrays = tuple(part.data if isinstance(part, Tensor) else part for part in parts)
        chosen = arrays if isinstance(index, tuple) else arrays[0]
        return apply(OPERATIONS["getitem"], {"x": self}, {"index": chosen})

    def exp(self) -> Tensor:
        return apply(OPERATIONS["exp"], {"x": self}, {})

    def log(self) -> Tensor:
        return apply(OPERATIONS["log"], {"x": self}, {})

    def sqrt(self) -> Tensor:
        return apply(OPERATIONS["sqrt"], {"x": self}, {})

    def sum(self, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
        settings = {"axis": _one_of(dim, axis), "keepdim": keepdim}
        return apply(OPERATIONS["sum"], {"x": self}, settings)

    def mean(self, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Tensor:
        settings = {"axis": _one_of(dim, axis), "keepdim": keepdim}
        return apply(OPERATIONS["mean"], {"x": self}, settings)

    def reshape(self, *shape: Any) -> Tensor:
        return apply(OPERATIONS["reshape"], {"x": self}, {"shape": _unpacked(shape)})

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        if not self.ndim:
            return self.reshape(1)
        start, end = start_dim % self.ndim, end_dim % self.ndim
        length = int(np.prod(self.shape[start : end + 1]))
        return self.reshape(*self.shape[:start], length, *self.shape[end + 1 :])

    def unsqueeze(self, dim: int) -> Tensor:
        return self.reshape(np.expand_dims(self.data, dim).shape)

    def permute(self, *dims: Any) -> Tensor:
        return apply(OPERATIONS["transpose"], {"x": self}, {"axes": _unpacked(dims)})

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        axes = list(range(self.ndim))
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
        return self.permute(*axes)

    @property
    def T(self) -> Tensor:  # noqa: N802 - torch's name
        return apply(OPERATIONS["transpose"], {"x": self}, {"axes": None})

    @property
    def mT(self) -> Tensor:  # noqa: N802 - torch's name
        return self.transpose(-1, -2)

    # Comparisons carry no gradient

    def __lt__(self, other: Any) -> Tensor:
        return Tensor(self.data < _plain(other))

    def __le__(self, other: Any) -> Tensor:
        return Tensor(self.data <= _plain(other))

    def __gt__(self, other: Any) -> Tensor:
        return Tensor(self.data > _plain(other))

    def __ge__(self, other: Any) -> Tensor:
        return Tensor(self.data >= _plain(other))

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return Tensor(np.asarray(self.data == _plain(other)))

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return Tensor(np.asarray(self.data != _plain(other)))

    __hash__ = object.__hash__


def concat(tensors: list[Tensor], axis: int) -> Tensor:
    """Join tensors along an axis that they have."""
    inputs = {f"x{index}": tensor for index, tensor in enumerate(tensors)}
    return apply(OPERATIONS["concat"], inputs, {"axis": axis})


def apply(spec: LayerSpec, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Tensor:
    """Run a layer on tensors and arrays, and put it on the tape if a gradient may be wanted."""
    tensors: dict[str, Tensor] = {}
    arrays: dict[str, Array] = {}
    is_wanted = False
    for name, value in inputs.items():
        if value is not None:
            tensor = value if type(value) is Tensor else _as_tensor(spec, name, value)
            tensors[name], arrays[name] = tensor, tensor.data
            is_wanted = is_wanted or tensor.requires_grad
    y, saved = run_forward(spec, arrays, settings)
    if not (is_wanted and recording.get()):
        return Tensor(y)
    for name in spec.constants:
        if name in tensors and tensors[name].requires_grad:
            raise no_gradient(spec, name)
    order = tensors if spec.variadic else spec.inputs
    used = tuple([tensors.get(name) for name in order])
    spared = KERNELS[spec.name].spared
    if spared is not None:
        wanted = [tensor is not None and tensor.requires_grad for tensor in used]
        saved = spared(saved, tuple(wanted))
    return Tensor(y, True, Applied(spec, saved, used))


def _as_tensor(spec: LayerSpec, name: str, value: Any) -> Tensor:
    backend = owner(value)
    if backend is not None and backend.tensor_type is not Tensor:
        raise BackendError(
            f"{spec.name}: {name} is a {backend.name} tensor among numpy tensors; "
            f"move it with twingrad.to_numpy({name})"
        )
    # A copy: the caller may reuse its array before backward() runs.
    return Tensor(np.array(value))


def _binary(name: str, x: Any, y: Any) -> Tensor:
    return apply(OPERATIONS[name], {"x": _operand(x, y), "y": _operand(y, x)}, {})


def _operand(value: Any, other: Any) -> Any:
    """Return `value` as it is, or a Python number in the other operand's dtype."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Tensor(np.asarray(value, other.dtype))
    return value


def _plain(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _one_of(dim: Any, axis: Any) -> Any:
    return axis if dim is None else dim


def _unpacked(values: tuple[Any, ...]) -> tuple[int, ...]:
    single = len(values) == 1 and not isinstance(values[0], int | np.integer)
    return tuple(values[0]) if single else values
