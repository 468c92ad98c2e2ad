"""Tells pytest the suite's options where the suite is named as a package, not as a folder.

In `pytest --pyargs twingrad.parity_tests --backend NAME`, pytest reads no conftest.py before it
parses the options, as it would for a folder. This is a module of its own at the top, so that a
pytest that is about something else never imports twingrad.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

SUITE = "twingrad.parity_tests"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Register the suite's conftest under the name that pytest itself will look for."""
    if any(arg.split("::")[0].split(".")[:2] == SUITE.split(".") for arg in args):
        conftest = importlib.import_module(f"{SUITE}.conftest")
        early_config.pluginmanager.register(conftest, str(Path(str(conftest.__file__))))
