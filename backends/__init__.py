"""The backends: the same layers, file by file, by hand in NumPy and in PyTorch."""

import sys
from types import ModuleType

if __name__ != "twingrad.backends":
    raise ImportError("import twingrad.backends; bare `backends` is only its folder")


class _Backends(ModuleType):
    """This folder, called as the function of the same name: twingrad.backends()."""

    def __call__(self) -> dict[str, str]:
        from twingrad.core.backend import backends

        return backends()


# Importing a backend binds this module to twingrad.backends, where the function stood before.
sys.modules[__name__].__class__ = _Backends
