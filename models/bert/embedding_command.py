"""The command `twingrad embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twingrad.models.terminal import Backend, Device

if TYPE_CHECKING:
    from twingrad.core.spec import Array

# Heavy imports are inside the functions: `twingrad --help` must answer at once.

SUFFIXES = (".npy", ".jsonl")

Model = Annotated[
    Path,
    typer.Option(help="Folder of a BERT: Hugging Face's form, or what `train bert` wrote."),
]
Texts = Annotated[
    str, typer.Option(help="UTF-8 file with one text per line, or - for standard input.")
]
MaxLength = Annotated[
    int | None,
    typer.Option(help="Most tokens of a text; longer texts are cut.", show_default="the model's"),
]


def embed(
    model: Model,
    input: Texts,
    output: Annotated[Path, typer.Option(help="File to write: FILE.npy or FILE.jsonl.")],
    pooling: Annotated[str, typer.Option(help="mean of the tokens, or the first one: cls.")] = (
        "mean"
    ),
    normalize: Annotated[
        bool, typer.Option("--normalize/--no-normalize", help="Scale vectors to length 1.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Texts in a batch.")] = 32,
    max_length: MaxLength = None,
    backend: Backend = None,
    device: Device = None,
) -> None:
    """Write a vector for each line of text, in the order of the lines."""
    from twingrad.core.errors import SettingError
    from twingrad.models.bert.embedding import check_pooling, embed_texts
    from twingrad.models.bert.folder import open_model
    from twingrad.models.bert.texts import check_batch_size, checked_length, read_texts

    if output.suffix not in SUFFIXES:
        raise SettingError(f"must end in {' or '.join(SUFFIXES)}; got {output}", "output")
    check_pooling(pooling)
    check_batch_size(batch_size)
    texts = read_texts(input)
    bert, tokenizer = open_model(model, backend, device=device, head="encoder")
    length = checked_length(max_length, bert.config)
    vectors = embed_texts(bert, tokenizer, texts, pooling, normalize, batch_size, length)
    _write(output, texts, vectors)
    typer.echo(f"wrote {output}: {len(vectors)} vectors of {vectors.shape[1]} numbers")


def _write(path: Path, texts: list[str], vectors: Array) -> None:
    import json

    import numpy as np

    from twingrad.core.files import whole_file

    with whole_file(path) as file:
        if path.suffix == ".npy":
            np.save(file, vectors, allow_pickle=False)
            return
        for text, vector in zip(texts, vectors, strict=True):
            line = json.dumps({"text": text, "embedding": vector.tolist()}, ensure_ascii=False)
            file.write(f"{line}\n".encode())
