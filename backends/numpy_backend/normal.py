"""The normal distribution function in vectorised NumPy, which has no erf."""

import math

import numpy as np

from twingrad.core.spec import Array

# (1 + 2z) e^(z^2) erfc(z) as a polynomial in t = (z - 3) / (z + 3), lowest power first: Chebyshev
# interpolation on 60 nodes in 50 digits, cut where the rest is below the target. The form is that
# of Shepherd and Laframboise 1981, doi:10.1090/S0025-5718-1981-0595058-X.
FOR_FLOAT64 = (
    1.2530080582697296, -0.1356211061245812, -0.0475622943534492, 0.12964515870276475,
    -0.11927366341538638, 0.06830802734384515, -0.02377051491717134, 0.0025293918180474668,
    0.0018886903449991718, -0.0007798322884823084, -0.00010515971958448065,
    0.0001250994355712812, 4.949196649968345e-06, -2.0100843094844725e-05,
    -7.308281468783614e-07, 3.473024167841533e-06, 3.5576086684080595e-07,
    -6.175617678992323e-07, -1.4047654315428462e-07, 1.0277997488271058e-07,
    4.1064013667940355e-08, -1.3906145791730994e-08, -8.217595058711455e-09,
    1.2019719440135793e-09, 8.393734858690877e-10, -3.451497487664328e-11,
)  # fmt: skip
# e^(x^2 / 2) Phi(-x) as a quotient of polynomials in x >= 0, lowest power first: least squares in
# 40 digits on 160 points up to 15, where Phi leaves float32; weighed until all errors are below
# 2^-33 of the value. Nothing cancels, as no coefficient is negative.
NUMERATOR = (
    0.4999999999562718, 0.5083665574325104, 0.2513112083491699, 0.07162220496683443,
    0.01171408048008074, 0.0008969227390735291,
)  # fmt: skip
DENOMINATOR = (
    1.0, 1.814617667251156, 1.4504779668578616, 0.6592102927346899, 0.18178385319277424,
    0.02936266854124209, 0.0022482544908801498,
)  # fmt: skip

# (Phi(x) - 1/2) sqrt(2 pi) / x as a series in x^2 (DLMF 7.6.1); its rest is below 2^-54 at |x| = 1.
SERIES = tuple((-1) ** k / (math.factorial(k) * 2**k * (2 * k + 1)) for k in range(15))


def tail_and_density(distance: Array, is_wide: bool) -> tuple[Array, Array]:
    """Return Phi(-x) and phi(x) for float64 x in [0, 60], to float64's digits or to float32's."""
    density = _exp_minus_half_square(distance, is_wide)
    tail = _scaled_tail(distance) if is_wide else _scaled_tail_of_float32(distance)
    tail *= density
    if is_wide:
        # Near 0 the tail's own rounding would be float64's last digits of Phi.
        near = distance < 1
        tail[near] = 0.5 - _near_zero(distance[near])
    density *= 1 / math.sqrt(2 * math.pi)
    return tail, density


def _scaled_tail(distance: Array) -> Array:
    """Return e^(x^2 / 2) Phi(-x) for x >= 0."""
    z = distance * math.sqrt(0.5)
    t = z + 3
    np.divide(-6, t, out=t)
    t += 1
    scaled = _polynomial(t, FOR_FLOAT64)
    z *= 2
    z += 1
    scaled /= z
    scaled *= 0.5
    return scaled


def _scaled_tail_of_float32(distance: Array) -> Array:
    """Return the same to float32's digits, in float64."""
    scaled = _polynomial(distance, NUMERATOR)
    scaled /= _polynomial(distance, DENOMINATOR)
    return scaled


def _near_zero(x: Array) -> Array:
    """Return Phi(x) - 1/2, right for |x| < 1."""
    offset = _polynomial(x * x, SERIES)
    offset *= x
    offset *= 1 / math.sqrt(2 * math.pi)
    return offset


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Return the sum of coefficients[k] x^k by Horner's rule."""
    total = x * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        total += coefficient
        total *= x
    total += coefficients[0]
    return total


def _exp_minus_half_square(x: Array, is_wide: bool) -> Array:
    """Return e^(-x^2 / 2), without the rounding of x^2 that large x would magnify."""
    if not is_wide:  # the square of 24 bits is exact
        return np.exp(-0.5 * (x * x))
    high = x.astype(np.float32).astype(np.float64)
    return np.exp(-0.5 * high * high) * np.exp(-0.5 * (x - high) * (x + high))
