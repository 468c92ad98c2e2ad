"""The folders beside this file are links; a checkout without symbolic links has text files instead.

The package looks here as it is imported, and setup.py before it builds anything. So nothing is
imported here but the standard library.
"""

from pathlib import Path

HERE = Path(__file__).parent
ROOMS = ("core", "backends", "parity_tests", "benchmarks", "models")


def broken() -> str | None:
    """Return in one line what is wrong with the links and what to do, or None if all is well."""
    wrong = [room for room in ROOMS if not (HERE / room).is_dir()]
    if not wrong:
        return None
    what = f"{HERE / wrong[0]} must be a link to the folder {wrong[0]}"
    got = "is a text file" if (HERE / wrong[0]).is_file() else "is not there"
    return (
        f"twingrad: {what}, and {got}: this checkout was made without symbolic links. Run "
        f"`git config core.symlinks true` and `git checkout -- src/twingrad`, then try again; on "
        f"Windows turn developer mode on first"
    )
