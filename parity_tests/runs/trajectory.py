"""Two training runs side by side: the first step, layer and tensor in which they part.

Both runs start from the same bits and see the same batches, so in exact arithmetic they would stay
equal for ever. Rounding parts them slowly, at a pace that the model itself sets: a third run, whose
weights are moved by one unit in the last place after every step, shows how much a rounding grows.
Runs part where their distance is beyond ROOM times what such roundings have grown to by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import twingrad as tg
from twingrad.core.errors import SettingError
from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, Arrays, LayerSpec
from twingrad.models.mlp.datasets import points
from twingrad.models.mlp.model import MLP
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.checks import Disagreement, check_forward, check_gradient
from twingrad.parity_tests.judge.session import Session

STEPS = 200
BATCH = 20  # rows
# A step of a backend rounds some tens of times, the nudged run is moved once a step.
ROOM = 64.0

Batch = tuple[Array, Array]


class Block(tg.Module):
    """An encoder block: attention and a feed-forward part, each normalised first and added."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.norm1, self.norm2 = tg.LayerNorm(width), tg.LayerNorm(width)
        self.attention = tg.MultiHeadAttention(width, heads, batch_first=True)
        self.linear1, self.gelu = tg.Linear(width, 2 * width), tg.GELU()
        self.linear2, self.head = tg.Linear(2 * width, width), tg.Linear(width, 1)

    def forward(self, x: Any) -> Any:
        h = self.norm1(x)
        x = x + self.attention(h, h, h)[0]
        x = x + self.linear2(self.gelu(self.linear1(self.norm2(x))))
        return self.head(x)


def _mlp_batches(seed: int) -> list[Batch]:
    train = points(seed=seed).train
    rows = (train.x, train.target.reshape(-1, 1))
    return [(x, target) for x, target in tg.DataLoader(rows, BATCH, shuffle=True, seed=seed)]


def _block_batches(seed: int) -> list[Batch]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5, 4, 6, 8))
    return [(one, (one.sum(axis=-1, keepdims=True) > 0).astype(float)) for one in x]


@dataclass(frozen=True)
class Model:
    """What is trained: a recipe, and the batches that come round again and again."""

    recipe: Callable[[], tg.Module]
    batches: Callable[[int], list[Batch]]


MODELS = {
    "mlp": Model(lambda: MLP(2, (5, 3)), _mlp_batches),
    "block": Model(Block, _block_batches),
}


@dataclass
class Call:
    """One layer as a run called it."""

    spec: LayerSpec
    settings: dict[str, Any]
    inputs: Arrays
    y: Array


@dataclass
class Step:
    """All that one training step computed, in the order in which it did."""

    calls: list[Call]
    tensors: dict[str, Array]  # layer outputs, the loss, gradients, then new parameters


@dataclass
class Parting:
    """Where two runs part."""

    step: int
    tensor: str
    gap: float
    allowed: float
    verdict: str  # which layer of that step is wrong, and on which backend


@dataclass
class Compared:
    """Two runs of one model."""

    model: str
    backends: tuple[str, ...]
    gaps: list[float] = field(default_factory=list)  # of the loss, relative, after each step
    allowed: list[float] = field(default_factory=list)
    first: Parting | None = None


class TrainingRun:
    """A model in training on one backend, step by step."""

    def __init__(self, model: str, backend: str, seed: int, optimizer: str = "adamw") -> None:
        if model not in MODELS:
            raise SettingError(f"--trajectory must be one of {list(MODELS)}; got {model!r}")
        self.backend = backend
        self.batches = MODELS[model].batches(seed)
        recipe = MODELS[model].recipe()
        self.net: Any = tg.build(recipe, backend=backend, seed=seed, dtype="float64")
        self.loss_fn = tg.BCEWithLogitsLoss()
        self.optimizer = _optimizer(optimizer, self.net)
        self.steps = 0

    def moved_to(self, backend: str) -> TrainingRun:
        """Return this run as it goes on, on another backend."""
        other = object.__new__(TrainingRun)
        other.__dict__ |= self.__dict__ | {"backend": backend}
        other.net = tg.convert(self.net, backend=backend)
        other.optimizer = _optimizer(self.optimizer.spec.name, other.net)
        other.optimizer.load_state_dict(self.optimizer.state_dict())
        return other

    def step(self) -> Step:
        """Take one step on the next batch, and return all that it computed."""
        x, y = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        with _recorded(self.backend) as calls:
            loss = self.loss_fn(self.net(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        tensors = {f"{n}. {call.spec.name}": call.y for n, call in enumerate(calls, 1)}
        tensors["loss"] = tg.to_numpy(loss)
        for name, parameter in self.net.named_parameters():
            tensors[f"gradient of {name}"] = tg.to_numpy(parameter.grad)
        self.optimizer.step()
        for name, parameter in self.net.named_parameters():
            tensors[name] = tg.to_numpy(parameter)
        return Step(calls, tensors)

    def nudge(self, rng: np.random.Generator) -> None:
        """Move every weight by one unit in its last place, up or down."""
        backend = load_backend(self.backend)
        for _, parameter in self.net.named_parameters():
            weight = tg.to_numpy(parameter)
            sign = rng.choice(np.array([-1.0, 1.0]), weight.shape)
            backend.assign(parameter, weight + sign * np.spacing(np.abs(weight)))


def compare(model: str, session: Session, steps: int = STEPS) -> Compared:
    """Train a model on a session's two backends, and return how far they part, and where first."""
    backends, seed = session.options.backends, session.options.seed or 0
    first, second = (TrainingRun(model, name, seed) for name in backends)
    return compare_runs(model, first, second, TrainingRun(model, backends[0], seed), session, steps)


def compare_runs(
    model: str,
    first: TrainingRun,
    second: TrainingRun,
    nudged: TrainingRun,
    session: Session,
    steps: int,
) -> Compared:
    """Take steps with both runs, beside the nudged one that shows how roundings grow."""
    compared = Compared(model, (first.backend, second.backend))
    rng = np.random.default_rng(first.steps)
    largest: dict[str, float] = {}
    for number in range(1, steps + 1):
        nudged.nudge(rng)
        one, other, moved = first.step(), second.step(), nudged.step()
        for name, tensor in one.tensors.items():
            noise = max(largest.get(name, 0.0), _gap(tensor, moved.tensors[name]))
            largest[name] = noise
            allowed = ROOM * max(noise, float(np.finfo(np.float64).eps))
            gap = _gap(tensor, other.tensors[name])
            if name == "loss":
                compared.gaps.append(gap)
                compared.allowed.append(allowed)
            if not gap <= allowed:  # NaN parts, too
                backends = dict(zip(("backend", "reference"), compared.backends, strict=True))
                verdict = _verdict(one.calls, session.apart(**backends))
                compared.first = Parting(number, name, gap, allowed, verdict)
                return compared
    return compared


def in_words(compared: Compared) -> str:
    """Return what was found, for a person."""
    one, other = compared.backends
    if compared.first is None:
        worst = int(np.argmax(compared.gaps))
        return (
            f"{compared.model}: {one} and {other} do not part in {len(compared.gaps)} steps; their "
            f"losses differ most after step {worst + 1}, by {compared.gaps[worst]:.2g} of the loss "
            f"(allowed there: {compared.allowed[worst]:.2g})"
        )
    first = compared.first
    return (
        f"{compared.model}: {one} and {other} part in step {first.step}, first in {first.tensor}: "
        f"{first.gap:.3g} of its size apart, where roundings explain {first.allowed:.3g}\n"
        f"{first.verdict}"
    )


def _verdict(calls: list[Call], session: Session) -> str:
    """Run each layer of a step again, by itself: the first that is wrong is the cause."""
    rng = np.random.default_rng(0)
    for number, call in enumerate(calls, 1):
        grad_y = np.asarray(rng.standard_normal(call.y.shape))
        case = Case(call.spec, call.inputs, call.settings, grad_y)
        try:
            check_forward(case, session)
            check_gradient(case, session)
        except Disagreement as found:
            return f"the cause is layer call {number} of that step:\n{found}"
    return (
        "each layer of that step is right by itself on the inputs that it got: the cause is the "
        "optimizer, or what joins the layers"
    )


def _gap(x: Array, y: Array) -> float:
    """Return the largest difference of two arrays, as a share of the largest element."""
    size = float(np.max(np.abs(x), initial=0.0))
    difference = float(np.max(np.abs(x - y), initial=0.0))
    return difference / size if size else difference


def _optimizer(name: str, net: Any) -> Any:
    if name == "sgd":
        return tg.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return tg.AdamW(net.parameters(), lr=1e-2)


@contextmanager
def _recorded(name: str) -> Iterator[list[Call]]:
    """Note every layer that a backend applies in this context."""
    backend, calls = load_backend(name), []
    apply = backend.apply

    def noting(spec: LayerSpec, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
        y = apply(spec, inputs, settings)
        arrays = {
            key: value.copy() if isinstance(value, np.ndarray) else tg.to_numpy(value)
            for key, value in inputs.items()
            if value is not None
        }
        calls.append(Call(spec, {**spec.defaults(), **settings}, arrays, tg.to_numpy(y)))
        return y

    backend.apply = noting  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        backend.apply = apply  # type: ignore[method-assign]
