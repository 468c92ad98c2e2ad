"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from twingrad.core.errors import TwingradError


class OutputError(TwingradError, OSError):
    """A file or a folder cannot be written."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that appears under `path` only once all of it is on disk.

    Raises OutputError if the folder or the file cannot be written; what stood at `path` stays.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        # In the same folder: a rename across file systems would not be atomic.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; give them what the user's mask allows.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OutputError:
        raise  # of another file that is written inside this one
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def writable_folder(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Make a folder and try to write there; if the work fails, leave no new empty folder behind.

    Raises OutputError at once if the files called `names` could not be written there at the end.
    """
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


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and the rename is as durable as it gets
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
