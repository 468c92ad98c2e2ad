"""The backends: the same layers, file by file, by hand in NumPy and in PyTorch."""

if __name__ != "twingrad.backends":
    raise ImportError("import twingrad.backends; bare `backends` is only its folder")
