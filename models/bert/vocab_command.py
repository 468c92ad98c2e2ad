"""The command `twingrad vocab`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twingrad.core.command_options import takes
from twingrad.models.bert.corpus import CorpusSource

if TYPE_CHECKING:
    from twingrad.models.bert.corpus import Document
    from twingrad.models.bert.tokenizer import Tokenizer

# Heavy imports are inside the functions: `twingrad --help` must answer at once.

MANY = 100_000  # entries, above which the embedding table outgrows the rest of a model


@takes(CorpusSource)
def vocab(
    *,
    source: CorpusSource,
    out: Annotated[
        Path, typer.Option(help="File to write: a plain list if it ends in .txt, else JSON.")
    ] = Path("tokenizer.json"),
    kind: Annotated[str, typer.Option(help="Kind of the tokens: word or wordpiece.")] = "wordpiece",
    size: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of entries, the five special tokens included.",
            show_default="30522 for wordpiece, no limit for word",
        ),
    ] = None,
    min_frequency: Annotated[
        int, typer.Option(help="Least number of times that a word or a pair of pieces occurs.")
    ] = 1,
    lowercase: Annotated[
        bool,
        typer.Option("--lowercase/--no-lowercase", help="Lower-case the text and strip accents."),
    ] = False,
) -> None:
    """Make a vocabulary from text: whole words, or WordPiece.

    Prints what share of the text's tokens is unknown. The same text gives the same file.
    """
    from twingrad.core.errors import SettingError
    from twingrad.models.bert.tokenizer import check_installed, check_training, train_tokenizer

    if bool(source.corpus) == source.demo_corpus:
        raise SettingError(
            "give either --corpus FILE or --demo-corpus; got "
            + ("both" if source.corpus else "neither")
        )
    check_training(kind, size, min_frequency)
    check_installed()
    if out.is_dir():
        raise SettingError(f"must be a file; {out} is a folder", "out")
    # The text is read twice: files are streamed, as they may be large; the demo corpus is slow
    # to collect, so it is kept.
    kept = list(source.documents()) if source.demo_corpus else None

    def documents() -> Iterable[Document]:
        return source.documents() if kept is None else kept

    sentences = (sentence for document in documents() for sentence in document)
    tokenizer = train_tokenizer(sentences, kind, size, min_frequency, lowercase)
    unknown, total = _count(tokenizer, documents())
    tokenizer.save(out)
    typer.echo(
        f"{kind}: {len(tokenizer)} entries, {unknown / total:.2%} of {total} tokens unknown; "
        f"wrote {out}"
    )
    if len(tokenizer) > MANY:
        typer.echo(
            f"more than {MANY} entries make a large model: --size or --kind wordpiece keeps it "
            f"small",
            err=True,
        )


def _count(tokenizer: Tokenizer, documents: Iterable[Document]) -> tuple[int, int]:
    """Return how many tokens of the documents are unknown, and how many there are."""
    unknown = total = 0
    for document in documents:
        for ids in tokenizer.encode_many(document):
            unknown, total = unknown + ids.count(tokenizer.unk_id), total + len(ids)
    return unknown, total
