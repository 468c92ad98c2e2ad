"""One error type per cause; every message is one line, and the same on every backend."""

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


class TwingradError(Exception):
    """The parent of every error that twingrad raises on purpose."""


class ShapeError(TwingradError, ValueError):
    """An array has the wrong shape."""


class DTypeError(TwingradError, TypeError):
    """An array has the wrong dtype, or two arrays that must share one do not."""


class SettingError(TwingradError, ValueError):
    """A setting is unknown, or its value is out of range.

    With `field`, the message is the setting's name and then the reason; the command line puts its
    own option in place of the name.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason if field is None else f"{field} {reason}")
        self.reason, self.field = reason, field


class UnknownNameError(TwingradError, LookupError):
    """No layer, optimizer, backend, input or parameter has this name."""

    def __init__(self, what: str, name: object, known: object) -> None:
        super().__init__(f"unknown {what} {name!r}: expected one of {sorted(map(str, known))}")  # type: ignore[call-overload]


class StateError(TwingradError, ValueError):
    """A state dict does not fit the model or the optimizer it was given to."""


class RegistrationError(TwingradError, ValueError):
    """A layer or an optimizer cannot be registered as it is."""


class MissingPackageError(TwingradError, ImportError):
    """A package that this needs is not installed; the message says what installs it."""


class BackendError(TwingradError, RuntimeError):
    """A backend does not do what it must, or tensors of two backends meet."""


class GradientError(TwingradError, RuntimeError):
    """A gradient was asked for where there is none."""


class DataError(TwingradError, ValueError):
    """Data that a user gave (labels, a table) cannot be used as they are."""


class CheckpointError(TwingradError, ValueError):
    """A checkpoint is damaged, or belongs to another model."""
