"""The command line: each command lives beside what it runs, and is only named here."""

from __future__ import annotations

import sys
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from twingrad.about import info, layers, options
from twingrad.benchmarks.command import bench
from twingrad.core.errors import (
    INTERRUPTED,
    BackendError,
    MissingPackageError,
    RegistrationError,
    SettingError,
    TwingradError,
    UnknownNameError,
)
from twingrad.models.bert.classifier_command import classify, train_classifier
from twingrad.models.bert.embedding_command import embed
from twingrad.models.bert.fill_mask_command import fill_mask, next_sentence
from twingrad.models.bert.train_command import train_bert
from twingrad.models.bert.vocab_command import vocab
from twingrad.models.mlp.command import predict, train_mlp
from twingrad.parity_tests.runs.command import parity
from twingrad.parity_tests.runs.mutants.command import mutants


class Commands(TyperGroup):
    """Commands that say of a wrong setting which option it was."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; in a SettingError the option stands in place of the setting's name."""
        try:
            return super().invoke(ctx)
        except SettingError as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            options = {one.name: one.opts[0] for one in (command.params if command else ())}
            if error.field not in options:
                raise
            raise SettingError(error.reason, options[error.field]) from None


app = typer.Typer(
    name="twingrad",
    cls=Commands,
    help="Every layer twice: by hand in NumPy and in PyTorch, with laws that prove both right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train = typer.Typer(
    cls=Commands,
    help="Train a model on either backend.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(train, name="train")
train.command("mlp")(train_mlp)
train.command("classifier")(train_classifier)
train.command("bert")(train_bert)
app.command()(vocab)
app.command()(embed)
app.command()(fill_mask)
app.command()(next_sentence)
app.command()(classify)
app.command()(predict)
app.command()(parity)
app.command()(mutants)
app.command()(bench)
app.command()(layers)
app.command()(info)
app.callback()(options)

WRONG_CALL = (
    SettingError,
    UnknownNameError,
    BackendError,
    MissingPackageError,
    RegistrationError,
)


def main() -> None:
    """Run the command line; exit 0 if all is well, 1 if something failed, 2 for a wrong call."""
    try:
        app(prog_name="twingrad")
    except TwingradError as error:
        _say(str(error))
        sys.exit(2 if isinstance(error, WRONG_CALL) else 1)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(INTERRUPTED)


def _say(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"twingrad: {message}", markup=False
    )
