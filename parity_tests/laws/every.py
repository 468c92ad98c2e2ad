"""Laws of all layers and operations, or of all of a kind."""

from __future__ import annotations

import numpy as np

from twingrad.core.registry import load_backend
from twingrad.core.spec import Array, LayerSpec, Structural
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.laws.ball import Ball, agree, balls, outcome, same
from twingrad.parity_tests.laws.drawn import (
    changed,
    drawn,
    gradients_in,
    integers,
    on_a_grid,
    random_like,
)
from twingrad.parity_tests.laws.rows import rows_of, stacked
from twingrad.parity_tests.laws.table import Subject, law, told


def is_layer(spec: Subject) -> bool:
    """Whether it is a layer or an operation."""
    return isinstance(spec, LayerSpec)


def keeps_integers(spec: Subject) -> bool:
    """Whether its sums and products of small integers are not rounded."""
    return told(spec.name, "INTEGERS") is not None


def has_rows(spec: Subject) -> bool:
    """Whether it works row by row, with leading dimensions that mean nothing to it."""
    if not isinstance(spec, LayerSpec) or spec.variadic:
        return False
    if any(isinstance(setting, Structural) for setting in spec.settings.values()):
        return False
    return spec.output.startswith("...") and any(s.startswith("...") for s in spec.inputs.values())


@law(is_layer, "gradients of two upstreams add up", draws=drawn)
def upstreams_add_up(case: Case, backend: str) -> None:
    # On a grid, so that the sum of the two is no third, rounded gradient.
    one, two = on_a_grid(case.grad_y), on_a_grid(random_like(case))
    first, second, both = (balls(changed(case, grad_y=g), backend) for g in (one, two, one + two))
    for what in gradients_in(both):
        total = first[what] + second[what]
        agree(backend, f"{what} of a sum of upstream gradients", both[what], total)


@law(keeps_integers, "integer gradients of two upstreams add up", draws=integers, exact=True)
def integer_upstreams_add_up(case: Case, backend: str) -> None:
    one, two = case.grad_y, case.grad_y[..., ::-1] if case.grad_y.ndim else case.grad_y
    first, second, both = (outcome(changed(case, grad_y=g), backend) for g in (one, two, one + two))
    for what in gradients_in(both):
        total = first[what] + second[what]
        same(backend, f"{what} of a sum of upstream gradients", both[what], total)


@law(is_layer, "no upstream, no gradient", draws=drawn, exact=True)
def no_upstream_no_gradient(case: Case, backend: str) -> None:
    found = outcome(changed(case, grad_y=np.zeros_like(case.grad_y)), backend)
    for what in gradients_in(found):
        nothing = np.zeros_like(found[what])
        same(backend, f"{what} of an upstream gradient of 0", found[what], nothing)


@law(is_layer, "a negative upstream negates the gradient", draws=drawn, exact=True)
def negative_upstream_negative_gradient(case: Case, backend: str) -> None:
    found, negated = outcome(case, backend), outcome(changed(case, grad_y=-case.grad_y), backend)
    for what in gradients_in(found):
        same(backend, f"{what} of the negative upstream gradient", negated[what], -found[what])


@law(is_layer, "backward twice gives the same twice", draws=drawn, exact=True, needs_tensors=True)
def backward_runs_twice(case: Case, backend: str) -> None:
    """A second backward through the same forward adds the same gradient once more."""
    target, once = load_backend(backend), outcome(case, backend)
    tensors = {
        name: target.tensor(x, requires_grad=f"grad_{name}" in once)
        for name, x in case.inputs.items()
    }
    y = target.apply(case.spec, tensors, case.settings)
    for _ in range(2):
        y.backward(target.tensor(case.grad_y), retain_graph=True)
    for what in gradients_in(once):
        grad = tensors[what.removeprefix("grad_")].grad
        twice = np.zeros_like(once[what]) if grad is None else target.to_numpy(grad)
        same(backend, f"{what} of two backward passes", twice, 2 * once[what])


@law(is_layer, "float32 is float64 within its bound", draws=drawn, dtypes=("float32",))
def float32_is_float64_rounded(case: Case, backend: str) -> None:
    def widened(x: Array) -> Array:
        return x.astype(np.float64) if x.dtype.kind == "f" else x

    wide = {name: widened(x) for name, x in case.inputs.items()}
    narrow, upstream = balls(case, backend), widened(case.grad_y)
    for what, ball in balls(Case(case.spec, wide, case.settings, upstream), backend).items():
        expected = Ball(ball.value.astype(np.float64), ball.radius.astype(np.float64))
        agree(backend, f"{what} in float32 against float64", narrow[what], expected)


@law(has_rows, "rows may be reordered", draws=drawn)
def rows_may_be_reordered(case: Case, backend: str) -> None:
    batch, of_rows = stacked(case)
    order = [2, 0, 1]
    found, moved = balls(batch, backend), balls(rows_of(batch, of_rows, order), backend)
    for what in found:
        expected = found[what][order] if what in of_rows else found[what]
        agree(backend, f"{what} of reordered rows", moved[what], expected)


@law(has_rows, "a batch is its parts", draws=drawn)
def a_batch_is_its_parts(case: Case, backend: str) -> None:
    """Row by row; parameters get the sum of what each part gives them (and heads are a loop)."""
    batch, of_rows = stacked(case)
    whole = balls(batch, backend)
    parts = [balls(rows_of(batch, of_rows, slice(i, i + 1)), backend) for i in range(3)]
    for what in whole:
        if what in of_rows:
            for i, part in enumerate(parts):
                agree(backend, f"{what} of part {i} alone", part[what], whole[what][i : i + 1])
        else:
            total = parts[0][what] + parts[1][what] + parts[2][what]
            agree(backend, f"{what} of all parts", whole[what], total)
