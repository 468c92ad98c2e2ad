"""The backends: the same layers, file by file, by hand in NumPy and in PyTorch.

This package shares its name with the public function `twingrad.backends()`, so it can be called.
"""

import sys
from types import ModuleType

from twingrad.core.backend import backends

if __name__ != "twingrad.backends":
    raise ImportError("import twingrad.backends; bare `backends` is only its folder")


class _CallableModule(ModuleType):
    def __call__(self) -> dict[str, str]:
        return backends()


sys.modules[__name__].__class__ = _CallableModule
