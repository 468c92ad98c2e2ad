"""Whatever evaluates or predicts leaves each module in the mode it was in, also when it fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twingrad as tg
from twingrad.core.layers import BCEWithLogitsLoss
from twingrad.core.trainer import predict, whole_set_loss
from twingrad.models.bert import pretraining
from twingrad.models.bert.classifier import class_logits
from twingrad.models.bert.embedding import embed_texts
from twingrad.models.bert.fill_mask import fill_mask, follows
from twingrad.models.bert.folder import open_weights
from twingrad.models.bert.pretraining_data import PretrainingData
from twingrad.models.bert.settings import PretrainingSettings
from twingrad.models.bert.texts import encode
from twingrad.models.bert.token_file import TokenFile
from twingrad.models.mlp import datasets
from twingrad.models.mlp.model import MLP
from twingrad.models.mlp.prediction import Predictor
from twingrad.models.mlp.settings import MlpSettings
from twingrad.models.mlp.training import Standardisation, train

BACKENDS = ("numpy", "torch")
Use = tuple[Any, Callable[[], object]]  # a model, and something that evaluates it


def pretraining_evaluation(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    weights, tokenizer = open_weights(bert_folder)
    documents = [["the cat sat", "a dog ran"], ["so it goes", "the cat ran"]]
    tokens = TokenFile.build(tmp_path / "tokens", documents, tokenizer)
    settings = PretrainingSettings(seq_len=8, batch_size=2)
    run = pretraining.start(weights.config, settings, tokenizer.fingerprint, backend)
    data = PretrainingData(tokens, tokenizer, 8, 2, 0)
    return run.model, partial(pretraining.evaluate, run, data, 2)


def classifier_evaluation(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    weights, tokenizer = open_weights(bert_folder)
    model = weights.new_classifier(2, backend=backend)
    texts = encode(tokenizer, ["the cat", "a dog"], None, 8)
    return model, partial(class_logits, model, texts, tokenizer.pad_id, 2)


def filled_masks(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    weights, tokenizer = open_weights(bert_folder)
    model = weights.model("masked", backend)
    return model, partial(fill_mask, model, tokenizer, "the [MASK] sat", 2)


def next_sentences(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    weights, tokenizer = open_weights(bert_folder)
    model = weights.model("next", backend)
    return model, partial(follows, model, tokenizer, "the cat", "a dog")


def embeddings(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    weights, tokenizer = open_weights(bert_folder)
    model = weights.model("encoder", backend)
    return model, partial(embed_texts, model, tokenizer, ["the cat", "a dog"])


def mlp_evaluation(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    model = tg.build(MLP(2), backend)
    x, target = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    return model, partial(whole_set_loss, model, BCEWithLogitsLoss(reduction="mean"), x, target)


def mlp_outputs(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    model = tg.build(MLP(2), backend)
    return model, partial(predict, model, np.ones((4, 2), np.float32))


def mlp_prediction(backend: str, bert_folder: Path, tmp_path: Path) -> Use:
    model = tg.build(MLP(2), backend)
    scale = Standardisation(np.zeros(2), np.ones(2))
    predictor = Predictor(model, backend, "float32", ("a", "b"), ("0", "1"), scale)
    return model, partial(predictor.probabilities, np.ones((4, 2)))


USES = (
    pretraining_evaluation,
    classifier_evaluation,
    filled_masks,
    next_sentences,
    embeddings,
    mlp_evaluation,
    mlp_outputs,
    mlp_prediction,
)


def modes(model: Any) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("use", USES)
def test_each_module_keeps_its_mode(
    use: Callable[[str, Path, Path], Use],
    backend: str,
    bert_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, evaluate = use(backend, bert_folder, tmp_path)
    last = list(model.modules())[-1]
    seen: list[list[bool]] = []
    forward = type(model).forward

    def watched(self: Any, *args: Any, **named: Any) -> Any:
        seen.append(modes(model))
        return forward(self, *args, **named)

    def broken(self: Any, *args: Any, **named: Any) -> Any:
        seen.append(modes(model))
        raise RuntimeError("the model is broken")

    for mode, other in ((True, False), (False, True)):
        model.train(mode)
        last.train(other)  # a part that was frozen by hand, or the other way round
        before = modes(model)
        assert any(before)
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "forward", watched)
            evaluate()
        assert modes(model) == before
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "forward", broken)
            with pytest.raises(RuntimeError, match="the model is broken"):
                evaluate()
        assert modes(model) == before
    assert len(seen) >= 4
    assert not any(map(any, seen))


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_evaluates_and_goes_on_in_training_mode(
    backend: str, bert_folder: Path, tmp_path: Path
) -> None:
    """A mode that an evaluation left behind would switch dropout off for all later steps."""
    model, evaluate = pretraining_evaluation(backend, bert_folder, tmp_path)
    model.train()
    evaluate()
    assert all(modes(model))
    fitted = train(datasets.points(20), MlpSettings(epochs=1), backend=backend)
    assert all(modes(fitted.model))
