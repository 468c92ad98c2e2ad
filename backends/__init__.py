"""The backends: the same layers, file by file, by hand in NumPy and in PyTorch."""

from twingrad.core.registry import OWN, OwnBackend

if __name__ != "twingrad.backends":
    raise ImportError("import twingrad.backends; bare `backends` is only its folder")

OWN["numpy"] = OwnBackend("twingrad.backends.numpy_backend", None)
OWN["torch"] = OwnBackend("twingrad.backends.torch_backend", "torch")
