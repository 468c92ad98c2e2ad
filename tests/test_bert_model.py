"""BERT itself: sizes, and what must hold of the whole model on both backends."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import twingrad as tg
from twingrad.core.errors import SettingError, ShapeError
from twingrad.core.spec import Array
from twingrad.models.bert.config import SIZES, BertConfig
from twingrad.models.bert.model import Bert, BertForClassification, BertForPretraining, sinusoids

BACKENDS = ("numpy", "torch")
EPS = float(np.finfo(np.float64).eps)
SMALL = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 32, "vocab_size": 40}
forms = pytest.mark.parametrize("form", ["google", "teaching"])
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def small(form: str, **changes: Any) -> BertConfig:
    if form == "teaching":
        return BertConfig.teaching(**{**SMALL, **changes})
    return BertConfig.google("tiny", **{**SMALL, "max_positions": 64, **changes})


def count(recipe: tg.Module) -> int:
    return sum(int(np.prod(parameter.shape)) for parameter in recipe.parameters())


def texts(seed: int, rows: int = 3, length: int = 9) -> dict[str, Array]:
    """Return a batch with some padding at the end of each text."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, length + 1, rows)
    mask = np.arange(length) < lengths[:, None]
    ids = np.where(mask, rng.integers(1, SMALL["vocab_size"], (rows, length)), 0)
    segments = (np.arange(length) >= lengths[:, None] // 2).astype(np.int64) * mask
    return {"input_ids": ids, "segment_ids": segments, "attention_mask": mask}


# Sizes


@pytest.mark.parametrize(
    ("size", "encoder", "with_heads"),
    [
        ("tiny", 4_385_920, 4_433_468),
        ("mini", 11_170_560, 11_267_900),
        ("small", 28_763_648, 29_058_876),
        ("medium", 41_373_184, 41_668_412),
        ("base", 109_482_240, 110_106_428),
        ("large", 335_141_888, 336_226_108),
    ],
)
def test_the_released_sizes_have_their_parameters(size: str, encoder: int, with_heads: int) -> None:
    config = BertConfig.google(size)
    assert count(Bert(config)) == encoder
    assert count(BertForPretraining(config)) == with_heads


@pytest.mark.parametrize(
    ("vocabulary", "hidden", "layers", "heads", "parameters"),
    [(262, 256, 8, 8, 6_453_768), (2_135_556, 240, 3, 3, 1_029_286_598)],
)
def test_the_teaching_form_has_the_parameters_that_its_users_saw(
    vocabulary: int, hidden: int, layers: int, heads: int, parameters: int
) -> None:
    config = BertConfig.teaching(
        vocab_size=vocabulary,
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        intermediate_size=4 * hidden,
        closing_norm=False,  # as it was there
    )
    assert count(BertForPretraining(config)) == parameters


def test_every_size_has_heads_of_64() -> None:
    for hidden, _, heads in SIZES.values():
        assert hidden == 64 * heads


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": 17}, "heads must divide hidden_size = 17; got 2"),
        ({"layers": -1}, "layers must be an integer >= 0; got -1"),
        ({"vocab_size": True}, "vocab_size must be an integer >= 1; got True"),
        ({"norm": "middle"}, "norm must be post or pre; got 'middle'"),
        ({"gelu": "erf"}, "gelu must be none or tanh; got 'erf'"),
        ({"dropout": 1.0}, "dropout must be a number in [0, 1); got 1.0"),
        ({"pad_id": 40}, "pad_id must be below vocab_size = 40; got 40"),
    ],
)
def test_a_wrong_config_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as caught:
        BertConfig.google("tiny", **{**SMALL, **changes})
    assert str(caught.value) == words


def test_odd_widths_have_no_sinusoids() -> None:
    """Where the teaching code crashed in the middle of its table."""
    with pytest.raises(SettingError, match="hidden_size must be even for sinusoidal positions"):
        BertConfig.teaching(**{**SMALL, "hidden_size": 15, "heads": 3})


def test_an_unknown_key_of_a_config_is_named() -> None:
    config = small("google")
    assert BertConfig.from_dict(config.to_dict()) == config
    with pytest.raises(SettingError, match="unknown config key 'hiden_size'"):
        BertConfig.from_dict({"hiden_size": 3})


# Both backends, one model


@forms
@both_backends
def test_dropout_is_the_same_on_both_backends_and_gone_at_0(form: str, backend: str) -> None:
    """What `dropout` says reaches the embeddings and the attention, too."""
    batch = texts(1)
    for p in (0.0, 0.3):
        config = small(form, dropout=p, attention_dropout=p)
        model = tg.build(Bert(config), backend, seed=2, dtype="float64")
        one, two = (tg.to_numpy(model(**batch).hidden) for _ in range(2))
        assert np.array_equal(one, two) == (p == 0)
        reference = tg.build(Bert(config), "numpy", seed=2, dtype="float64")
        expected = tg.to_numpy(reference(**batch).hidden)
        assert np.abs(one - expected).max() <= 4096 * EPS * np.abs(expected).max()
        model.eval()
        np.testing.assert_array_equal(
            tg.to_numpy(model(**batch).hidden), tg.to_numpy(model(**batch).hidden)
        )


@forms
@both_backends
def test_padding_changes_nothing(form: str, backend: str) -> None:
    model = tg.build(Bert(small(form)), backend, seed=4, dtype="float64").eval()
    batch = texts(5)
    longer = {
        name: np.pad(array, [(0, 0), (0, 4)], constant_values=0) for name, array in batch.items()
    }
    longer["input_ids"][:, -4:] = 9  # whatever stands there
    longer["segment_ids"][:, -2:] = 1
    short, long = (tg.to_numpy(model(**one).hidden) for one in (batch, longer))
    real = batch["attention_mask"]
    gap = np.abs(short - long[:, : short.shape[1]])[real]
    assert gap.max() <= 1024 * EPS * np.abs(short).max()


@forms
@both_backends
def test_texts_of_a_batch_do_not_see_each_other(form: str, backend: str) -> None:
    model = tg.build(Bert(small(form)), backend, seed=4, dtype="float64").eval()
    batch, order = texts(6), [2, 0, 1]
    moved = {name: array[order] for name, array in batch.items()}
    whole, shuffled = (tg.to_numpy(model(**one).pooled) for one in (batch, moved))
    assert np.abs(whole[order] - shuffled).max() <= 1024 * EPS * np.abs(whole).max()


@both_backends
def test_a_tied_decoder_is_one_parameter(backend: str) -> None:
    """One buffer, one gradient that is the sum of both uses, one optimizer state."""
    config = small("google", dropout=0.0, attention_dropout=0.0)
    model = tg.build(BertForPretraining(config), backend, seed=3)
    assert model.masked.decoder.weight is model.bert.embeddings.word.weight
    names = [name for name, _ in model.named_parameters()]
    assert "masked.decoder.weight" not in names
    assert {"masked.decoder.weight", "bert.embeddings.word.weight"} <= set(model.state_dict())
    optimizer = tg.AdamW(model.parameters())
    masked, _ = model(texts(1)["input_ids"])
    masked.sum().backward()
    optimizer.step()
    state = {name: tg.to_numpy(value) for name, value in model.state_dict().items()}
    np.testing.assert_array_equal(
        state["masked.decoder.weight"], state["bert.embeddings.word.weight"]
    )


@forms
@both_backends
def test_hidden_states_and_attention_maps_can_be_had(form: str, backend: str) -> None:
    model = tg.build(Bert(small(form)), backend, seed=4, dtype="float64").eval()
    batch = texts(8)
    found = model(**batch, return_all=True)
    assert len(found.hidden_states) == SMALL["layers"] + 1
    assert len(found.attentions) == SMALL["layers"]
    for weights in map(tg.to_numpy, found.attentions):
        assert weights.shape == (3, SMALL["heads"], 9, 9)
        assert np.abs(weights.sum(axis=-1) - 1).max() <= 64 * EPS
        hidden = ~np.broadcast_to(batch["attention_mask"][:, None, None, :], weights.shape)
        assert not weights[hidden].any()
    if form == "google":
        np.testing.assert_array_equal(
            tg.to_numpy(found.hidden_states[-1]), tg.to_numpy(found.hidden)
        )


@both_backends
def test_logits_are_made_only_where_they_are_asked_for(backend: str) -> None:
    model = tg.build(BertForPretraining(small("google")), backend, seed=4, dtype="float64").eval()
    batch = texts(9)
    every, _ = model(**batch)
    some, _ = model(**batch, positions=np.array([4, 0, 4]))
    assert every.shape == (27, SMALL["vocab_size"])
    gap = tg.to_numpy(every)[[4, 0, 4]] - tg.to_numpy(some)
    assert np.abs(gap).max() <= 64 * EPS


@both_backends
def test_a_text_longer_than_the_positions_is_refused(backend: str) -> None:
    model = tg.build(Bert(small("google")), backend)
    with pytest.raises(ShapeError) as caught:
        model(np.ones((1, 65), np.int64))
    assert str(caught.value) == (
        "bert: max_positions is 64, so texts must have at most as many tokens; got 65"
    )


@both_backends
def test_classes_are_told_apart_by_the_first_token(backend: str) -> None:
    model = tg.build(BertForClassification(small("google"), 5), backend).eval()
    assert model(**texts(2)).shape == (3, 5)


def test_sinusoids_are_those_of_the_paper() -> None:
    table = sinusoids(50, 8)
    for place, column in ((0, 0), (7, 3), (49, 6)):
        angle = place / 10000 ** ((column - column % 2) / 8)
        expected = np.cos(angle) if column % 2 else np.sin(angle)
        assert abs(table[place, column] - expected) <= 64 * EPS


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**16))
def test_the_padding_row_starts_at_0_and_all_else_at_the_configs_width(seed: int) -> None:
    model = tg.build(BertForPretraining(small("google", vocab_size=400)), "numpy", seed=seed)
    weight = model.state_dict()["bert.embeddings.word.weight"]
    assert not weight[0].any()
    assert abs(float(weight[1:].std()) / 0.02 - 1) < 0.1
