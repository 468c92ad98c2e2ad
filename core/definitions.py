"""Every layer's formula in a few lines of plain NumPy: the first oracle.

Written for truth, not for speed. Each runs in float64, in longdouble and in their complex
twins, so that a complex step x + ih differentiates it with no rounding of its own: the gradient
is the imaginary part over h (Squire and Trapp 1998, doi:10.1137/S003614459631241X). A function
that is not analytic (abs, max, comparisons) therefore looks at the real part only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from twingrad.core.spec import Array


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y: Array = x @ weight.T
    return y if bias is None else y + bias


def tanh(x: Array) -> Array:
    # expm1 keeps small x exact, and its argument is never positive, so it never overflows.
    e = _expm1(-2 * _abs(x))
    return np.asarray(np.where(x.real < 0, 1, -1) * (e / (e + 2)))


def sigmoid(x: Array) -> Array:
    e = np.exp(-_abs(x))
    return np.where(x.real >= 0, 1 / (1 + e), e / (1 + e))


def relu(x: Array) -> Array:
    return np.where(x.real <= 0, 0, x)


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        # 0.5 (1 + tanh(z)) is sigmoid(2z), without the cancellation at negative z.
        slope = np.sqrt(np.real(x).dtype.type(8) / _pi(x))
        gate = sigmoid(slope * (x + 0.044715 * x**3))
    else:
        gate = _normal_cdf(x)
    # Where the gate has closed, the product is 0 even at -inf; where it is open, +inf stays.
    return np.where(gate == 0, 0, x * np.where(np.isposinf(x.real), 1, gate))


def softmax(x: Array) -> Array:
    return np.exp(log_softmax(x))


def log_softmax(x: Array) -> Array:
    top = np.max(x.real, axis=-1, keepdims=True, initial=-np.inf)
    # A row of -inf alone has no largest logit to shift by: every one of its logits stays -inf.
    shifted = x - np.where(np.isneginf(top), 0, top)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    log_total = np.log(np.where(total == 0, 1, total))
    # A NaN spoils its row, absent logits and all.
    absent = np.isneginf(x.real) & ~np.isnan(total.real)
    return np.where(absent, -np.inf, shifted - log_total)


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    # Shifted by an element of the row first, so that a constant row is centred to exactly 0.
    centred = x - x[..., :1]
    centred = centred - _row_mean(centred)
    y: Array = centred / np.sqrt(_row_mean(centred * centred) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    keep: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    p: float = 0.0,
) -> Array:
    scale = _default_scale(query) if scale is None else scale
    visible = visible_pairs(query, key, mask, causal)[..., None]
    # Pair by pair, since a masked pair is absent: whatever stands in it must not be touched.
    pairs = np.where(visible, query[..., :, None, :] * key[..., None, :, :], 0)
    weights = softmax(np.where(visible[..., 0], pairs.sum(axis=-1) * scale, -np.inf))
    if keep is not None:
        weights = dropout(weights, keep, p)
    y: Array = np.where(visible, weights[..., None] * value[..., None, :, :], 0).sum(axis=-2)
    return y


def dropout(x: Array, keep: Array, p: float = 0.5) -> Array:
    # At p = 1 nothing is kept, and 1 / (1 - p) is never looked at.
    multiplier = 1 / (1 - p) if p < 1 else 0.0
    return np.where(np.logical_and(keep, p < 1), x * multiplier, 0)


def bce_with_logits(
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> Array:
    positive = target if pos_weight is None else pos_weight * target
    # A factor of 0 keeps its part out of the loss, even where that part is infinite; not if NaN.
    number = ~np.isnan(x.real)
    yes = np.where((positive == 0) & number, 0, positive * _softplus(-x))
    no = np.where((target == 1) & number, 0, (1 - target) * _softplus(x))
    loss: Array = yes + no
    loss = loss if weight is None else weight * loss
    if reduction == "none":
        return loss
    total = loss.sum()
    # Nothing to average is a loss of 0, as for a sum, and never 0 / 0.
    return np.asarray(total / loss.size if reduction == "mean" and loss.size else total)


def embedding(ids: Array, weight: Array, padding_idx: int | None = None) -> Array:
    # The row of padding_idx is a constant: no step along it is seen.
    rows = np.arange(len(weight))[:, None]
    y: Array = np.where(rows == padding_idx, weight.real, weight)[ids]
    return y


def cross_entropy(
    x: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Array:
    counted = target != ignore_index
    x = np.where(counted[..., None], x, 0)  # what is not counted is absent, NaN or not
    weight = np.ones(x.shape[-1], x.real.dtype) if weight is None else weight
    places = np.where(counted, target, 0)[..., None]
    surprise = -log_softmax(x)
    weights = np.where(counted, weight[places[..., 0]], 0)
    # A part of 0 takes its class out of the loss, even where the surprise is infinite.
    smoothing = x.real.dtype.type(label_smoothing)
    own = (1 - smoothing) * weights
    loss = np.where(own == 0, 0, own * np.take_along_axis(surprise, places, -1)[..., 0])
    if label_smoothing:
        spread = smoothing / x.shape[-1] * weight
        loss = loss + np.where(spread == 0, 0, spread * surprise).sum(axis=-1)
    loss = np.where(counted, loss, 0)
    if reduction == "none":
        return loss
    total, count = loss.sum(), weights.sum()
    return np.asarray(total / count if reduction == "mean" and count else total)


def visible_pairs(query: Array, key: Array, mask: Array | None, causal: bool) -> Array:
    """Return which query may attend to which key, as booleans (..., q, k); causal is top-left."""
    shape = (*query.shape[:-1], key.shape[-2])
    visible: Array = np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)
    return np.tril(visible) if causal else visible


def _default_scale(query: Array) -> Any:
    # A query of no features has scores of 0 whatever the scale is.
    return 1 / np.sqrt(np.real(query).dtype.type(max(query.shape[-1], 1)))


def _softplus(x: Array) -> Array:
    # log(1 + e^x), written so that no exponent is positive.
    tail = np.log1p(np.exp(np.where(x.real > 0, -x, x)))
    return tail + np.where(x.real > 0, x, 0)


def _row_mean(x: Array) -> Array:
    mean: Array = x.sum(axis=-1, keepdims=True) / max(x.shape[-1], 1)
    return mean


def _abs(x: Array) -> Array:
    return np.where(x.real < 0, -x, x)


def _pi(x: Array) -> Any:
    return 4 * np.arctan(np.real(x).dtype.type(1))


def _expm1(x: Array) -> Array:
    # To first order in ih, with the real part as exact as expm1 makes it.
    if not np.iscomplexobj(x):
        return np.expm1(x)
    return np.asarray(np.expm1(x.real) + 1j * (np.exp(x.real) * x.imag))


def _normal_cdf(x: Array) -> Array:
    """Return Phi(x) = erfc(-x / sqrt(2)) / 2, to full relative accuracy in the left tail."""
    real = np.real(x)
    # Beyond 160 the tail is 0 in every precision, and at infinity inf * 0 would be none.
    z = np.minimum(np.abs(real), 160) / np.sqrt(real.dtype.type(2))
    tail = _erfc(z) / 2
    cdf = np.where(real < 0, tail, 1 - tail)
    if not np.iscomplexobj(x):
        return np.asarray(cdf)
    density = np.exp(-z * z) / np.sqrt(2 * _pi(x))
    return np.asarray(cdf + 1j * (density * x.imag))


def _erfc(z: Array) -> Array:
    """Return erfc(z) for z >= 0 by the trapezoidal rule for its integral over the real line.

    With step h the rule errs by exp(-(pi/h)^2), once the pole at t = iz is corrected for
    (Hunter and Regan 1972, doi:10.1090/S0025-5718-1972-0303685-5).
    """
    h = z.dtype.type(0.4375)
    pi = _pi(z)
    total = np.zeros_like(z)
    # Nodes between the pole's mirror images: midpoints where z is near a node, nodes elsewhere.
    midpoints = np.abs(z / h - np.round(z / h)) < 0.25
    for n in range(32):
        t = h * (n + np.where(midpoints, z.dtype.type(0.5), z.dtype.type(0)))
        term = np.exp(-t * t) / (z * z + t * t + (z == 0))
        total += np.where((n == 0) & ~midpoints, 1, 2) * term
    value = h * z / pi * np.exp(-z * z) * total
    # Beyond exponent 60 the correction is far below the last digit of the value.
    grow = np.exp(np.minimum(2 * pi * z / h, 60))
    correction = np.where(
        grow < np.exp(h.dtype.type(59)), 2 / np.where(midpoints, grow + 1, 1 - grow), 0
    )
    return np.where(z == 0, 1, value + correction)
