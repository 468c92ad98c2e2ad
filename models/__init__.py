"""Whole systems, each written once and run on either backend."""

if __name__ != "twingrad.models":
    raise ImportError("import twingrad.models; bare `models` is only its folder")
