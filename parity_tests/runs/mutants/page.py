"""A run of `twingrad mutants` as a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAGE = """\
# Mutants

`twingrad mutants` makes one thing wrong in a handwritten NumPy kernel (a sign, a term, an axis, the
operands of a matrix product, a constant by one part in a million, a precision) and runs the laws on
it. A mutant that no law notices is a hole in the laws, or computes the same.

Made by `twingrad mutants --json FILE` with twingrad {twingrad}, NumPy {numpy}, torch {torch}, seed
{seed}, in {seconds:.0f} s on {jobs} cores: **{mutants:,} mutants, {killed:,} killed, {equivalent}
known to compute the same, {not_justified} without a reason.**

| kernel | {families} | all |
|---|{rule}---:|
{rows}

Killed by: {laws}.

The families: {operators}.

## Survivors

{survivors}
"""


def page(document: Mapping[str, Any]) -> str:
    """Return what `twingrad mutants --json` wrote as Markdown."""
    families = list(dict.fromkeys(document["families"].values()))
    members = {
        family: [name for name, own in document["families"].items() if own == family]
        for family in families
    }
    rows = []
    for kernel, cells in sorted(document["matrix"].items()):
        parts = [[cells[name] for name in members[family] if name in cells] for family in families]
        everything = [cell for part in parts for cell in part]
        rows.append(f"| {kernel} | {' | '.join(map(_cell, parts))} | {_cell(everything)} |")
    survivors = [
        f"- `{one['file']}`, `{one['function'] or 'a constant'}`, {one['operator']}: "
        f"`{one['original']}` → `{one['mutated']}`\n  {one['reason'] or 'NOT JUSTIFIED'}"
        for one in document["survivors"]
    ]
    laws = sorted(document["by_law"].items(), key=lambda item: -item[1])
    return PAGE.format(
        **document["totals"],
        **{name: document["versions"][name] for name in ("twingrad", "numpy", "torch")},
        **{name: document[name] for name in ("seed", "jobs", "seconds")},
        families=" | ".join(families),
        rule="---:|" * len(families),
        rows="\n".join(rows),
        laws=", ".join(f"{law} {count:,}" for law, count in laws),
        operators="; ".join(f"*{family}*: {', '.join(members[family])}" for family in families),
        survivors="\n".join(survivors) or "None.",
    )


def _cell(parts: list[list[int]]) -> str:
    killed, total = (sum(numbers) for numbers in zip(*parts, strict=True)) if parts else (0, 0)
    return "" if not total else str(total) if killed == total else f"{killed}/{total}"
