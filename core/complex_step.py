"""What every definition is written with: functions that a complex step goes through.

A definition is a layer's formula in a few lines of plain NumPy, the first oracle: written for
truth, not for speed. It runs in float64, in longdouble and in their complex twins, so that a
complex step x + ih differentiates it with no rounding of its own: the gradient is the imaginary
part over h (Squire and Trapp 1998, doi:10.1137/S003614459631241X). A function that is not analytic
(abs, max, comparisons) therefore looks at the real part only.
"""

from __future__ import annotations

import numpy as np

from twingrad.core.spec import Array


def absolute(x: Array) -> Array:
    """Return |x|, whose derivative is the sign of the real part."""
    return np.where(x.real < 0, -x, x)
