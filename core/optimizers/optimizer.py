"""The optimizers as a training loop sees them, with torch's habits, on either backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twingrad.core.arguments import check_setting, check_together
from twingrad.core.catalogue import optimizer_spec_of
from twingrad.core.contract import Backend, Tensor
from twingrad.core.errors import SettingError, StateError
from twingrad.core.registry import backend_of
from twingrad.core.spec import Number
from twingrad.core.state import to_numpy

LEARNING_RATE = Number(1e-3, low=0.0)


class Optimizer:
    """Parameters in groups that each have their own settings, and the state of each parameter.

    `param_groups` is a list of dicts, as in torch: "params", and every setting, which may be
    changed between steps. A subclass names the optimizer that it takes its steps by, in
    `spec_name`. Raises SettingError for a setting out of range or no parameters.
    """

    spec_name: str

    def __init__(self, params: Iterable[Any], **settings: Any) -> None:
        self.spec = optimizer_spec_of(self.spec_name)
        groups = [*params]
        if not groups:
            raise SettingError(f"{self.spec.name}: there are no parameters to optimize")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        for group in groups:
            self._add(group, settings)
        named = {str(index): param for index, param in enumerate(self._params())}
        self.backend: Backend = backend_of(self.spec.name, named)
        self._updates = [self.backend.updater(self.spec) for _ in self.param_groups]

    def step(self) -> None:
        """Change every parameter that has a gradient; the others stay as they are."""
        for group, update in zip(self.param_groups, self._updates, strict=True):
            settings = {name: group[name] for name in self.spec.settings}
            update(group["params"], self.state, settings)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every gradient, or set it to 0."""
        for param in self._params():
            param.grad = None if set_to_none or param.grad is None else param.grad * 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state by the parameter's number, and the settings of each group.

        Steps are integers; the other entries are NumPy arrays, or tensors on torch.
        """
        numbers = {param: number for number, param in enumerate(self._params())}
        state = {
            numbers[param]: {
                name: int(value) if name == "step" else self.backend.detached(value)
                for name, value in entries.items()
            }
            for param, entries in self.state.items()
        }
        groups = [
            {**group, "params": [numbers[param] for param in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take state and settings from a state dict of either backend.

        Raises StateError, before anything is changed, if groups, shapes or settings do not fit.
        """
        params = list(self._params())
        groups = state_dict["param_groups"]
        sizes, own = (
            [len(group["params"]) for group in groups],
            [len(g["params"]) for g in self.param_groups],
        )
        if sizes != own:
            raise StateError(
                f"{self.spec.name}: parameter groups must have sizes {own}; got {sizes}"
            )
        settings = [self._settings(group) for group in groups]
        state = {}
        for number, entries in state_dict["state"].items():
            if not 0 <= int(number) < len(params):
                raise StateError(
                    f"{self.spec.name}: there are {len(params)} parameters, so state must be of "
                    f"numbers below that; got {number}"
                )
            param = params[int(number)]
            arrays = {name: to_numpy(value) for name, value in entries.items()}
            step = int(arrays.pop("step"))
            for name, array in arrays.items():
                if name not in self.spec.state or array.shape != tuple(param.shape):
                    raise StateError(
                        f"{self.spec.name}: state of parameter {number} must be {self.spec.state} "
                        f"of shape {tuple(param.shape)}; got {name} of shape {array.shape}"
                    )
            state[param] = self.backend.optimizer_state(param, step, arrays)
        for group, new in zip(self.param_groups, settings, strict=True):
            group.update(new)
        self.state = state

    def _settings(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings in a group of a state dict; JSON has made lists of tuples."""
        settings = {name: group[name] for name in self.spec.settings if name in group}
        try:
            for name, value in settings.items():
                check_setting(self.spec, name, value)
        except SettingError as error:
            raise StateError(str(error)) from None
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }

    def __repr__(self) -> str:
        settings = [
            ", ".join(f"{name}={group[name]!r}" for name in self.spec.settings)
            for group in self.param_groups
        ]
        return f"{type(self).__name__}({'; '.join(settings)})"

    def _params(self) -> Iterable[Any]:
        return (param for group in self.param_groups for param in group["params"])

    def _add(self, group: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        given = {name: value for name, value in group.items() if name != "params"}
        for name in (*settings, *given):
            if name not in self.spec.settings:
                raise SettingError(
                    f"{self.spec.name}: unknown setting {name!r}: "
                    f"expected one of {sorted(self.spec.settings)}"
                )
        full = {**self.spec.defaults(), **settings, **given}
        for name, value in full.items():
            check_setting(self.spec, name, value)
        check_together(self.spec, full)
        params = group["params"]
        params = (
            list(params)
            if isinstance(params, Iterable) and not hasattr(params, "shape")
            else [params]
        )
        known = {id(param) for param in self._params()}
        if len({id(param) for param in params}) < len(params) or known & {
            id(param) for param in params
        }:
            raise SettingError(f"{self.spec.name}: a parameter was given twice")
        self.param_groups.append({"params": params, **full})


def clip_grad_norm_(params: Iterable[Any], max_norm: float) -> float:
    """Scale all gradients so that their joint Euclidean norm is at most `max_norm`; return it.

    The norm returned is the one before scaling. Raises SettingError unless `max_norm` > 0.
    """
    if not max_norm > 0:
        raise SettingError(f"clip_grad_norm_: max_norm must be a number > 0; got {max_norm!r}")
    with_grad = [param for param in params if param.grad is not None]
    if not with_grad:
        return 0.0
    named = {str(index): param for index, param in enumerate(with_grad)}
    return backend_of("clip_grad_norm_", named).clip_grad_norm(with_grad, max_norm)
