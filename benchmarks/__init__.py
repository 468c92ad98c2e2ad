"""Time and memory of every layer, optimizer and model, on both backends in one run."""

if __name__ != "twingrad.benchmarks":
    raise ImportError("import twingrad.benchmarks; bare `benchmarks` is only its folder")
