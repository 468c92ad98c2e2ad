"""What commands that train models share: printing lines, and a folder to write to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Backend = Annotated[
    str | None,
    typer.Option(help="Backend: numpy or torch.", show_default="TWINGRAD_BACKEND, else numpy"),
]
Device = Annotated[
    str | None,
    typer.Option(help="Device of the torch backend, such as cuda.", show_default="the backend's"),
]


def terminal(stderr: bool = False) -> Console:
    """Return a console that prints lines as they are."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(console: Console, lines: Sequence[str]) -> None:
    """Print lines as they are: brackets are not markup."""
    for line in lines:
        console.print(line, markup=False)


@contextmanager
def writable_folder(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Make a folder and try to write there; if the work fails, leave no new empty folder behind.

    Raises OutputError at once if the files called `names` could not be written at the end.
    """
    import tempfile

    from twingrad.core.files import OutputError

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"cannot write to --out {folder}: it is not a folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OutputError(
                f"cannot write to --out {folder}: {error.strerror or error}"
            ) from None
        for name in names:
            if (folder / name).is_dir():
                raise OutputError(f"cannot write {folder / name}: it is a folder")
        yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
