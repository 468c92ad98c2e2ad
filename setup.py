"""All that is built is described in pyproject.toml; here it is only made sure that all is there."""

import runpy
import sys

from setuptools import setup

reason = runpy.run_path("src/twingrad/links.py")["broken"]()
if reason is not None:
    sys.exit(reason)

setup()
