"""Packages that only some commands and models need."""

from __future__ import annotations

from importlib.util import find_spec

from twingrad.core.errors import MissingPackageError


def missing(package: str, extra: str, module: str | None = None) -> str | None:
    """Return a message that `package` is not installed and what installs it, or None if it is.

    `extra` is the extra of twingrad that installs it, `module` its import name, if different.
    """
    if find_spec(module or package) is not None:
        return None
    return f"{package} is not installed; install it with: pip install 'twingrad[{extra}]'"


def require(package: str, extra: str, module: str | None = None) -> None:
    """Raise MissingPackageError if `package` is not installed."""
    reason = missing(package, extra, module)
    if reason is not None:
        raise MissingPackageError(reason)
