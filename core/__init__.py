"""What a layer, an optimizer and a model are, said once for every backend."""

if __name__ != "twingrad.core":
    raise ImportError("import twingrad.core; bare `core` is only its folder")
