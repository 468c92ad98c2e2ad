"""mpmath's functions on arrays of its numbers, which the truths of all pages are written with.

Nothing need be written for stability there: at 60 digits no formula loses any that matter.
"""

from __future__ import annotations

import mpmath
import numpy as np

exp, log, sqrt, tanh = (
    np.frompyfunc(function, 1, 1) for function in (mpmath.exp, mpmath.log, mpmath.sqrt, mpmath.tanh)
)
