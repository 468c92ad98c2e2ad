"""The commands `twingrad fill-mask` and `twingrad next-sentence`."""

from __future__ import annotations

from typing import Annotated

import typer

from twingrad.models.bert.embedding_command import Model
from twingrad.models.terminal import Backend, Device

# Heavy imports are inside the functions: `twingrad --help` must answer at once.


def fill_mask(
    text: Annotated[str, typer.Argument(help="Text with [MASK] for each token to predict.")],
    model: Model,
    top: Annotated[int, typer.Option(help="How many tokens to print for each mask.")] = 5,
    backend: Backend = None,
    device: Device = None,
) -> None:
    """Print the likeliest tokens for each mask in a text, one per line with its probability."""
    from twingrad.models.bert import fill_mask as masks
    from twingrad.models.bert.folder import open_model

    bert, tokenizer = open_model(model, backend, device=device, head="masked")
    found = masks.fill_mask(bert, tokenizer, text, top)
    for number, guesses in enumerate(found, start=1):
        if len(found) > 1:
            typer.echo(f"mask {number}")
        for guess in guesses:
            typer.echo(f"{guess.probability:.4f}  {guess.token}")


def next_sentence(
    a: Annotated[str, typer.Argument(help="A sentence.")],
    b: Annotated[str, typer.Argument(help="The sentence that may follow it.")],
    model: Model,
    backend: Backend = None,
    device: Device = None,
) -> None:
    """Print how likely it is that sentence B follows sentence A."""
    from twingrad.models.bert import fill_mask as masks
    from twingrad.models.bert.folder import open_model

    bert, tokenizer = open_model(model, backend, device=device, head="next")
    probability = masks.follows(bert, tokenizer, a, b)
    typer.echo(f"{probability:.4f}  B follows A")
    typer.echo(f"{1 - probability:.4f}  B is from elsewhere")
