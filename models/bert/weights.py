"""Weights of a BERT as a folder holds them, and the models that can be made from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twingrad.core.build import build
from twingrad.core.errors import CheckpointError, SettingError
from twingrad.core.module import Module
from twingrad.core.spec import Arrays
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import Bert, BertForClassification, BertForPretraining

# The name of each head in a message, and a parameter whose presence shows it.
PARTS = {
    "masked": ("head for masked tokens", "masked.decoder.bias"),
    "next": ("next-sentence head", "next.weight"),
    "classification": ("classifier of texts", "classifier.weight"),
}
# The heads of each model that can be asked for; the encoder alone has none.
HEADS = {
    "encoder": (),
    "pretraining": ("masked", "next"),
    **{part: (part,) for part in PARTS},
}


@dataclass(frozen=True, eq=False)
class Weights:
    """The form of a BERT, and its arrays by the names that `name_in_file` gives our parameters.

    `labels` are the classes of its classifier, if it has one.
    """

    folder: Path
    config: BertConfig
    arrays: Arrays
    labels: tuple[str, ...] = ()
    name_in_file: Callable[[str], str] = str

    def model(
        self,
        head: str = "pretraining",
        backend: str | None = None,
        dtype: str = "float32",
        device: str | None = None,
    ) -> Any:
        """Return a model with these weights, out of training mode.

        That is a Bert for head "encoder", a BertForPretraining for "pretraining", "masked" or
        "next", and a BertForClassification for "classification". Raises SettingError for another
        head, CheckpointError if an array is missing or does not fit.
        """
        return self._filled(self._recipe(head), 0, backend, dtype, device, drawn=())

    def new_classifier(
        self, classes: int, seed: int = 0, backend: str | None = None, device: str | None = None
    ) -> Any:
        """Return a BertForClassification with this encoder, and a new classifier to train.

        A missing pooler is drawn from `seed` as well. Raises CheckpointError.
        """
        drawn = ("classifier.",) if self.config.pooler else ("classifier.", "bert.pooler.")
        recipe = BertForClassification(replace(self.config, pooler=True), classes)
        return self._filled(recipe, seed, backend, "float32", device, drawn)

    def _recipe(self, head: str) -> Module:
        if head not in HEADS:
            raise SettingError(f"must be one of {', '.join(HEADS)}; got {head!r}", "head")
        for part in HEADS[head]:
            what, parameter = PARTS[part]
            name = self.name_in_file(parameter)
            if name not in self.arrays:
                raise CheckpointError(
                    f"{self.folder}: the model has no {what} ({name}); `twingrad embed` works "
                    f"without it"
                )
        if head == "encoder":
            return Bert(self.config)
        if head == "classification":
            return BertForClassification(self.config, len(self.labels))
        return BertForPretraining(self.config, HEADS[head])

    def _filled(
        self,
        recipe: Module,
        seed: int,
        backend: str | None,
        dtype: str,
        device: str | None,
        drawn: tuple[str, ...],
    ) -> Any:
        """Return the built recipe; parameters whose names start with one of `drawn` stay new."""
        prefix = "bert." if isinstance(recipe, Bert) else ""
        state, used = {}, set()
        for name, parameter in recipe.named_parameters():
            if name.startswith(drawn):
                continue
            found = self.name_in_file(prefix + name)
            if found not in self.arrays:
                raise CheckpointError(f"{self.folder}: the array {found} is missing")
            array = self.arrays[found]
            if array.shape != parameter.shape or array.dtype.kind != "f":
                raise CheckpointError(
                    f"{self.folder}: {found} must be floating of shape {parameter.shape}, as the "
                    f"config says; got {array.dtype} of shape {array.shape}"
                )
            state[name] = array
            used.add(found)
        for name in self.arrays:
            if name.startswith("bert.") and name not in used:
                raise CheckpointError(
                    f"{self.folder}: {name} has no place in the model that the config describes"
                )
        model = build(recipe, backend, seed, dtype, device)
        # Not strict: a tied decoder is one array under two names, and drawn ones stay.
        model.load_state_dict(state, strict=False)
        return model.eval()
