"""What the BERT code that many copied had wrong, fault by number: the old value, and the new.

Each test computes what that code did from its own formula, and shows that neither backend does it
here.
"""

from __future__ import annotations

import ast
import math
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import twingrad as tg
from twingrad.core.errors import CheckpointError, DataError, SettingError, ShapeError
from twingrad.core.module import apply
from twingrad.core.schedule import Schedule
from twingrad.core.spec import Array
from twingrad.models.bert import model as bert_model
from twingrad.models.bert import pretraining, vocab_command
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.corpus import Document, read_documents
from twingrad.models.bert.fill_mask import fill_mask
from twingrad.models.bert.folder import open_model
from twingrad.models.bert.model import Bert, BertForPretraining, Block
from twingrad.models.bert.pretraining import PretrainingRun
from twingrad.models.bert.pretraining_data import PretrainingBatch, PretrainingData
from twingrad.models.bert.settings import PretrainingSettings
from twingrad.models.bert.token_file import TokenFile
from twingrad.models.bert.tokenizer import NAMES, train_tokenizer

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_forms = pytest.mark.parametrize("form", ["google", "teaching"])
EPS = float(np.finfo(np.float64).eps)
PACKAGE = Path(tg.__file__).parent
STILL: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0}

# Ten documents, each of ten words of its own; with the special tokens, a vocabulary of 105.
TEXT: list[Document] = [
    [
        " ".join(f"w{10 * document + (sentence + 3 * place) % 10}" for place in range(5 + sentence))
        for sentence in range(6)
    ]
    for document in range(10)
]
TOKENIZER = train_tokenizer([text for document in TEXT for text in document], "word")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile.build(tmp_path_factory.mktemp("text") / "tokens", TEXT, TOKENIZER)


def examples(tokens: TokenFile, **changes: Any) -> PretrainingData:
    settings = {"seq_len": 32, "batch_size": 16, "seed": 0} | changes
    return PretrainingData(tokens, TOKENIZER, **settings)


def original(batch: PretrainingBatch) -> Array:
    """Return input_ids as they were before tokens were masked."""
    ids = batch.input_ids.copy()
    ids.flat[batch.masked_positions] = batch.masked_targets
    return ids


def document_of(id: int) -> int:
    """Return the number of the document that holds this token."""
    return int(TOKENIZER.token(id).removeprefix("w")) // 10


def small(form: str = "google", **changes: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": len(TOKENIZER), "max_positions": 32}
    if form == "teaching":
        return BertConfig.teaching(**{**sizes, **changes})
    return BertConfig.google("tiny", **{**sizes, **changes})


def begun(backend: str, **changes: Any) -> PretrainingRun:
    settings = PretrainingSettings(
        **{"steps": 20, "batch_size": 4, "seq_len": 32, "lr": 1e-3} | changes
    )
    return pretraining.start(small(), settings, TOKENIZER.fingerprint, backend)


class Always(PretrainingData):
    """Examples of which every batch is this one."""

    def __init__(self, labels: list[int], targets: int) -> None:
        ids = np.tile([2, 9, 6, 3, 7, 8, 3, 0], (len(labels), 1))
        segments = np.tile([0, 0, 0, 0, 1, 1, 1, 0], (len(labels), 1))
        positions = 1 + 8 * np.arange(targets)
        asked = np.full(targets, 9), np.array(labels)
        self.value = PretrainingBatch(ids, segments, ids > 0, positions, *asked)

    def batch(self, step: int) -> PretrainingBatch:
        return self.value


def one_step(
    backend: str, labels: list[int], targets: int
) -> tuple[PretrainingRun, dict[str, Any]]:
    """Return a run after a step on such a batch, and what the step measured."""
    run, data = begun(backend), Always(labels, targets)
    (line,) = pretraining.train(run, data, until=1)
    return run, line


def hidden(model: Any, ids: Array, **more: Any) -> Array:
    result: Array = tg.to_numpy(model(ids, **more).hidden)
    return result


def ids_of(rows: int, length: int) -> Array:
    return np.random.default_rng(1).integers(5, len(TOKENIZER), (rows, length))


def close(got: Any, expected: Any, roundings: float) -> bool:
    """Tell whether all elements are within so many units of roundoff of the largest expected."""
    room = roundings * EPS * float(np.abs(expected).max())
    return bool((np.abs(np.asarray(got) - np.asarray(expected)) <= room).all())


# C1 to C4: losses and steps


def old_loss(logits: Array, labels: Array) -> float:
    """The mean over all whose label is not 0: for the masked tokens, and for the pairs as well."""
    losses = -tg.forward("log_softmax", {"x": logits})[np.arange(len(labels)), labels]
    asked = labels != 0
    with np.errstate(invalid="ignore"):
        return float(np.float64(losses[asked].sum()) / np.float64(asked.sum()))


@both_backends
def test_c1_a_constant_answer_has_its_loss(backend: str) -> None:
    """Label 0 was ignored: who always said 1 lost 0 and was right in half of the rows."""
    logits, labels = np.tile([-20.0, 20.0], (4, 1)), np.array([1, 0, 1, 0])
    assert old_loss(logits, labels) < 1e-17
    loss = tg.forward("cross_entropy", {"x": logits, "target": labels}, backend)
    assert float(loss) == 20.0


@both_backends
@pytest.mark.parametrize("labels", [[0], [1], [0, 0, 0], [1, 1], [0, 1]])
def test_c1_a_batch_of_any_labels_has_a_finite_loss_and_teaches(
    backend: str, labels: list[int]
) -> None:
    """Without a single 1 it was 0/0, a NaN: for one row every second time."""
    assert math.isnan(old_loss(np.zeros((1, 2)), np.array([0])))
    run, line = one_step(backend, labels, targets=1)
    assert 0 < line["next_loss"] < math.inf
    grad = tg.to_numpy(run.model.next.weight.grad)
    assert np.isfinite(grad).all()
    assert grad.any()


@both_backends
def test_c2_a_step_without_masked_tokens_loses_0_for_them(backend: str) -> None:
    """The mean over no token was 0/0, a NaN that went into every weight."""
    assert math.isnan(old_loss(np.zeros((8, 105)), np.zeros(8, np.int64)))
    run, line = one_step(backend, [0, 1], targets=0)
    assert line["masked_loss"] == 0.0
    assert line["loss"] == line["next_loss"] > 0
    for name, value in run.model.state_dict().items():
        assert np.isfinite(tg.to_numpy(value)).all(), name


def test_c2_every_sequence_has_a_masked_token(tokens: TokenFile) -> None:
    """Of those with 8, 10, 20 and 40 tokens 27, 20, 3.9 and 0.15 % had none."""
    chances = [100 * 0.85**length for length in (8, 10, 20, 40)]
    assert [float(f"{chance:.2g}") for chance in chances] == [27, 20, 3.9, 0.15]
    for length in (8, 10, 20):
        data = examples(tokens, seq_len=length)
        for step in range(20):
            batch = data.batch(step)
            assert set(batch.masked_positions // length) == set(range(len(batch.input_ids)))


def test_c3_a_short_run_comes_to_its_learning_rate() -> None:
    """With 10,000 steps of warm-up 20 steps ended at 1.25e-6, of 6.25e-4; and --lr was not read."""

    def old(step: int) -> float:
        return float(256**-0.5 * min(step**-0.5, step * 10_000**-1.5))

    assert [float(f"{old(step):.3g}") for step in (1, 20, 10_000)] == [6.25e-8, 1.25e-6, 6.25e-4]
    rates = PretrainingSettings(steps=20, lr=1e-4).rates
    assert [rates(step) for step in (1, 2)] == [5e-5, 1e-4]
    assert 0 < rates(20) < rates(19) < 1e-4
    # That schedule can be had, and its peak is what was asked for even then.
    noam = Schedule("noam", 6.25e-4, steps=40_000, warmup=10_000)
    for step in (1, 20, 10_000, 40_000):
        assert abs(noam(step) - old(step)) <= 16 * EPS * old(step)
    assert PretrainingSettings(steps=20, lr=1e-4, schedule="noam", warmup=10_000).rates(20) == 1e-4


@both_backends
def test_c3_the_optimizer_steps_with_the_rate_of_the_schedule(backend: str) -> None:
    """The schedule of 10,000 steps overwrote what --lr said."""
    run, data = begun(backend), Always([0, 1], targets=1)
    for line in pretraining.train(run, data, until=3):
        assert [group["lr"] for group in run.optimizer.param_groups] == [line["lr"]] * 2
        assert line["lr"] == run.settings.rates(run.step)
    assert run.settings.rates(2) == 1e-3


@both_backends
def test_c4_matrices_decay_by_their_share_and_nothing_else_decays(backend: str) -> None:
    """As a part of Adam's gradient, a decay of 0.01 took the whole rate: 1 became 0.99, everywhere.

    With no gradient but the decay's, its size cancels in m / sqrt(v).
    """
    lr = decay = 0.01
    grad = decay * 1.0
    assert abs(1 - lr * grad / (math.sqrt(grad**2) + 1e-8) - 0.99) < 1e-7
    run = begun(backend, lr=lr, weight_decay=decay, schedule="constant", warmup=0, dtype="float64")
    ones = {name: np.ones(value.shape) for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(ones)
    for parameter in run.model.parameters():
        parameter.grad = tg.tensor(np.zeros(tuple(parameter.shape)), backend)
    run.optimizer.step()
    for name, value in run.model.named_parameters():
        is_matrix = not name.endswith(".bias") and "norm." not in name
        expected = 1 - lr * decay if is_matrix else 1.0
        np.testing.assert_array_equal(tg.to_numpy(value), np.full(value.shape, expected), name)


# C5 to C9: the model


def old_layer_norm(x: Array) -> Array:
    deviation = x.std(-1, ddof=1, keepdims=True)
    return np.asarray((x - x.mean(-1, keepdims=True)) / (deviation + 1e-6))


@both_backends
def test_c5_layer_norm_divides_by_the_deviation_of_the_row_itself(backend: str) -> None:
    """By that of a sample: [1, 0, 0, 0] was [1.5, -0.5, ...] and is [1.732, -0.577, ...]."""
    x = np.array([1.0, 0.0, 0.0, 0.0])
    assert np.abs(old_layer_norm(x) - [1.5, -0.5, -0.5, -0.5]).max() < 1e-5
    y = tg.forward("layer_norm", {"x": x}, backend, eps=BertConfig().layer_norm_eps)
    assert np.abs(y - np.array([3.0, -1.0, -1.0, -1.0]) / math.sqrt(3)).max() < 1e-11
    for width, shown in ((4, 0.866), (256, 0.998)):
        factor = math.sqrt((width - 1) / width)
        assert round(factor, 3) == shown
        x = np.random.default_rng(0).normal(size=width)
        ratio = old_layer_norm(x) / tg.forward("layer_norm", {"x": x}, backend, eps=1e-12)
        assert np.abs(ratio - factor).max() < 1e-5
    # The trap for whoever writes it twice: the two libraries' std are not one function.
    x = np.array([1.0, 0.0, 0.0, 0.0])
    assert (round(float(np.std(x)), 3), float(torch.from_numpy(x).std())) == (0.433, 0.5)


@both_backends
def test_c5_layer_norm_of_one_number_or_equal_ones_has_values_and_gradients(backend: str) -> None:
    """A row of one was NaN, and the gradient of equal numbers 0/0."""
    with pytest.warns(RuntimeWarning):
        assert np.isnan(old_layer_norm(np.ones(1))).all()
    for width in (1, 5):
        x, grad = np.full((2, width), 3.0), np.arange(2.0 * width).reshape(2, width)
        y, grads = tg.vjp("layer_norm", {"x": x}, grad, backend, eps=1e-12)
        np.testing.assert_array_equal(y, np.zeros((2, width)))
        assert np.isfinite(grads["x"]).all()


def tanh_gelu(x: Array, factor: float) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + factor * x**3))))


@both_backends
def test_c6_the_factor_of_gelu_is_0_044715(backend: str) -> None:
    """As 0.44715 it erred by 0.093 near 1.34; rightly by 4.7e-4 at most, near 2.70."""
    x = np.linspace(-6, 6, 12_001)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    ours = tg.forward("gelu", {"x": x}, backend, approximate="tanh")
    assert np.abs(ours - tanh_gelu(x, 0.044715)).max() < 1e-14
    assert np.abs(tg.forward("gelu", {"x": x}, backend) - exact).max() < 1e-14
    for got, error, place in ((tanh_gelu(x, 0.44715), 0.093, 1.34), (ours, 4.7e-4, 2.70)):
        gap = np.abs(got - exact)
        assert float(f"{gap.max():.2g}") == error
        assert abs(abs(x[gap.argmax()]) - place) < 0.01
    assert BertConfig().gelu == "none"


@both_backends
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_c7_what_a_block_passes_on_is_not_dropped(backend: str, norm: str) -> None:
    """A dropout after the sums took a share of the stream itself, in each block anew."""
    model = tg.build(Block(small(norm=norm, dropout=0.5)), backend, dtype="float64")
    outputs = ("attention.output.weight", "feed_forward.output.weight")
    model.load_state_dict(
        {
            name: np.zeros(value.shape) if name in outputs else tg.to_numpy(value)
            for name, value in model.state_dict().items()
        }
    )
    x = np.random.default_rng(2).normal(size=(3, 5, 16))
    one, two = (tg.to_numpy(model(tg.tensor(x, backend))[0]) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    if norm == "pre":
        np.testing.assert_array_equal(one, x)


@both_backends
@both_forms
def test_c7_the_last_block_ends_in_a_norm(backend: str, form: str) -> None:
    """Without one, norms before each part leave the sum of all parts as large as it came out."""
    for closing_norm in (True, False):
        changes: dict[str, Any] = {} if closing_norm else {"norm": "pre", "closing_norm": False}
        config = small(form, **STILL, **changes, initializer_range=0.3)
        seen = hidden(tg.build(Bert(config), backend, dtype="float64"), ids_of(3, 7))
        variance = seen.var(axis=-1)
        assert np.array_equal(np.abs(variance - 1) < 1e-3, np.full((3, 7), closing_norm))


@both_backends
def test_c7_embeddings_are_normed_and_begin_small(backend: str) -> None:
    """Tables began at a deviation of 1 for 0.02, and their sum went on as it was."""
    model = tg.build(Bert(small(**STILL)), backend, dtype="float64")
    table = tg.to_numpy(model.embeddings.word.weight)[1:]
    assert abs(float(table.std()) / 0.02 - 1) < 0.1
    seen = tg.to_numpy(model.embeddings(ids_of(3, 7)))
    assert np.abs(seen.mean(axis=-1)).max() < 1e-12
    assert np.abs(seen.var(axis=-1) - 1).max() < 1e-6


@both_forms
@both_backends
def test_c8_dropout_0_is_none_and_each_rate_is_used(form: str, backend: str) -> None:
    """Embeddings and attention dropped 0.1 whatever was asked: no two calls were alike."""
    ids = ids_of(4, 9)
    for rates in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.3)):
        config = small(form, dropout=rates[0], attention_dropout=rates[1], initializer_range=0.3)
        model = tg.build(Bert(config), backend, dtype="float64").train()
        one, two = hidden(model, ids), hidden(model, ids)
        assert np.array_equal(one, two) == (rates == (0.0, 0.0))
        reference = tg.build(Bert(config), "numpy", dtype="float64").train()
        assert close(one, hidden(reference, ids), roundings=4096)


@both_backends
def test_c9_positions_are_learned_or_fixed(backend: str) -> None:
    """They were fixed; in a later form they had weights that no gradient ever came to."""
    ids = ids_of(2, 7)
    fixed = tg.build(Bert(small(position="sinusoidal")), backend)
    assert not [name for name, _ in fixed.named_parameters() if "position" in name]
    model = tg.build(Bert(small()), backend)
    before = tg.to_numpy(model.embeddings.position).copy()
    optimizer = tg.AdamW(model.parameters(), weight_decay=0.0)
    model(ids).pooled.sum().backward()
    optimizer.step()
    moved = (tg.to_numpy(model.embeddings.position) != before).any(axis=1)
    assert moved.tolist() == [True] * 7 + [False] * 25


@both_backends
def test_c9_odd_widths_and_long_texts_are_refused_in_words(backend: str) -> None:
    """Both ended in an error about shapes, from inside the table of sines and cosines."""
    with pytest.raises(ValueError, match="could not broadcast"):
        np.zeros((4, 5))[:, 1::2] = np.cos(np.arange(4)[:, None] * np.arange(0, 5, 2))
    with pytest.raises(SettingError, match="hidden_size must be even for sinusoidal positions"):
        small(position="sinusoidal", hidden_size=15, heads=3)
    odd = tg.build(Bert(small(hidden_size=15, heads=3)), backend)
    assert hidden(odd, ids_of(1, 4)).shape == (1, 4, 15)
    for position in ("learned", "sinusoidal"):
        model = tg.build(Bert(small(position=position, max_positions=512)), backend)
        with pytest.raises(ShapeError, match=r"max_positions is 512, .* got 513"):
            model(ids_of(1, 513))


# C10 to C15: examples


def test_c10_a_random_token_is_an_ordinary_one(tokens: TokenFile) -> None:
    """It was any of 105 ids: 3.6 % of those drawn were special, 21 of them padding.

    Which attention then ignores, though it is a target.
    """
    data = examples(tokens, seq_len=32, batch_size=200, mask_rate=1.0)
    drawn = []
    for step in range(20):
        batch = data.batch(step)
        shown = batch.input_ids.ravel()[batch.masked_positions]
        drawn.append(shown[(shown != batch.masked_targets) & (shown != TOKENIZER.mask_id)])
    found = np.concatenate(drawn)
    assert len(TOKENIZER) == 105
    assert len(found) > 1000  # of 105 ids alike, some 50 of these are special
    assert set(found.tolist()) == set(range(5, 105))


def test_c11_the_number_of_masked_tokens_is_exact(tokens: TokenFile) -> None:
    """Each token tossed its own coin: of 20 tokens 3 were masked only in 24 % of the rows."""
    assert round(math.comb(20, 3) * 0.15**3 * 0.85**17, 2) == 0.24
    data = examples(tokens)
    for step in range(20):
        batch = data.batch(step)
        counts = np.bincount(batch.masked_positions // 32, minlength=len(batch.input_ids))
        words = batch.attention_mask.sum(axis=1) - 3
        assert counts.tolist() == [max(1, round(0.15 * int(n))) for n in words]


def test_c12_every_token_of_a_row_is_an_id(tokens: TokenFile) -> None:
    """The branch for what is not masked hung on the loop, so that these tokens stayed strings."""
    batch = examples(tokens).batch(0)
    assert batch.input_ids.dtype == np.int64
    ordered = " ".join(text for document in TEXT for text in document)
    for ids in original(batch):
        for part in TOKENIZER.decode(ids, skip_special=False).split("[SEP]")[:2]:
            assert part.replace("[CLS]", "").strip() in ordered


def test_c13_an_unknown_token_is_no_target(tmp_path: Path) -> None:
    """It was masked like any other, and the model learned to say that it is unknown."""
    known = train_tokenizer(["a b c d"], "word")
    documents = [["a x b", "y c x"], ["c y", "x a x x d"]]
    tokens = TokenFile.build(tmp_path / "tokens", documents, known)
    data = PretrainingData(tokens, known, 16, 2, seed=0, mask_rate=1.0)
    for step in range(20):
        batch = data.batch(step)
        assert known.unk_id in batch.input_ids
        assert batch.masked_targets.min() >= 5
        assert len(batch.masked_targets) == (original(batch) >= 5).sum()


def test_c14_what_is_chosen_is_masked_and_not_unknown(tokens: TokenFile) -> None:
    """That 15 % become unknown was a misreading: 15 % are chosen, and 80 % of these are [MASK]."""
    data = examples(tokens, batch_size=200)
    batches = [data.batch(step) for step in range(20)]
    shown = np.concatenate([b.input_ids.ravel()[b.masked_positions] for b in batches])
    words = sum(int((original(b) >= 5).sum()) for b in batches)
    assert TOKENIZER.unk_id not in shown
    assert abs(len(shown) / words - 0.15) < 0.02
    assert abs(np.mean(shown == TOKENIZER.mask_id) - 0.8) < 0.05


def test_c15_a_cut_leaves_both_segments_and_their_ends(tokens: TokenFile) -> None:
    """Of 40 words of a and 5 of b, 20 places held neither b nor a [SEP]."""
    a, b, (cls, sep) = [5] * 40, [6] * 5, (TOKENIZER.cls_id, TOKENIZER.sep_id)
    old = [cls, *a, sep, *b, sep][:20]
    assert (old.count(6), old.count(sep)) == (0, 0)
    ids, segments = TOKENIZER.pair(a, b, 20)
    assert ids == [cls, *a[:12], sep, *b, sep]
    assert segments == [0] * 14 + [1] * 6
    for length in (5, 6, 9):
        data = examples(tokens, seq_len=length)
        for row in original(data.batch(0)).tolist():
            first, second = [place for place, id in enumerate(row) if id == sep]
            assert 1 < first < second - 1


# C16 to C21: text and files


def test_c16_a_tab_separates_words() -> None:
    """Tabs were deleted: "the<TAB>the" became the word "thethe", unknown to the rows made of it."""
    assert "the\tthe stay\there".replace("\t", "").split() == ["thethe", "stayhere"]
    made = train_tokenizer(["the\tthe", "stay\there"], "word")
    assert made.vocabulary()[5:] == ["the", "here", "stay"]
    assert made.encode("the\tthe") == [5, 5]


def test_c17_special_tokens_are_skipped_if_asked_and_kept_if_not() -> None:
    """The flag was the wrong way round: with_pad=False kept the padding, and True took it out."""
    row = [*TOKENIZER.pair(TOKENIZER.encode("w1 w2"), None, 9)[0], TOKENIZER.pad_id]
    assert TOKENIZER.decode(row, skip_special=True) == "w1 w2"
    assert TOKENIZER.decode(row, skip_special=False) == "[CLS] w1 w2 [SEP] [PAD]"


def test_c18_a_cut_text_keeps_its_end_and_its_length() -> None:
    """A cut took the end token, and the length that was told was the one before the cut."""
    ids = TOKENIZER.encode(" ".join(["w1"] * 9))
    old = [TOKENIZER.cls_id, *ids, TOKENIZER.sep_id]
    assert (len(old), TOKENIZER.sep_id in old[:6]) == (11, False)
    row, segments = TOKENIZER.pair(ids, None, 6)
    assert row == [TOKENIZER.cls_id, *ids[:4], TOKENIZER.sep_id]
    assert len(row) == len(segments) == 6


def test_c19_any_batch_of_a_mapped_file_can_be_read_at_any_time(tokens: TokenFile) -> None:
    """Off memory, no batch could: the lines were counted by None += 1, their numbers ignored."""
    assert isinstance(tokens.tokens, np.memmap)
    data, other = examples(tokens), examples(tokens, seed=1)
    forward = [data.batch(step).input_ids for step in range(4)]
    for step in (3, 0, 2, 1):
        other.batch(9 - step)  # which moves no place in a file that they share
        np.testing.assert_array_equal(data.batch(step).input_ids, forward[step])
    assert not np.array_equal(forward[0], forward[1])


def test_c19_a_random_sentence_takes_none_away(tokens: TokenFile) -> None:
    """It was read from the file that gave the pairs, and these went on behind it."""
    data, epochs = examples(tokens), []
    for epoch in range(3):
        seen: Counter[int] = Counter()
        for step in range(epoch * len(data), (epoch + 1) * len(data)):
            batch = data.batch(step)
            for row, label in zip(original(batch), batch.next_sentence_label, strict=True):
                b = 1 + row.tolist().index(TOKENIZER.sep_id)
                seen[document_of(row[1])] += 1
                assert (document_of(row[1]) != document_of(row[b])) == (label == 1)
        epochs.append(seen)
    assert epochs[0] == epochs[1] == epochs[2]
    assert sorted(epochs[0]) == list(range(10))


def test_c20_the_last_line_keeps_its_last_letter(tmp_path: Path) -> None:
    """Without a line end, the last letter was cut in its place: "last y" was "last "."""
    assert "last y"[:-1] == "last "
    path = tmp_path / "text.txt"
    for end in ("", "\n", "\r\n"):
        path.write_bytes(b"first x\n\nlast y" + end.encode())
        assert list(read_documents([path])) == [["first x"], ["last y"]]
        path.write_bytes(b"first\tx\nlast\ty" + end.encode())
        assert list(read_documents([path])) == [["first", "x"], ["last", "y"]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", r"line 2: it must be a pair A<TAB>B; it is blank"),
        ("one column", r"line 2: it must be a pair A<TAB>B with exactly one tab.* got 0 tabs"),
        (r"no\ttab", r"line 2: it must be a pair A<TAB>B with exactly one tab.* got 0 tabs"),
    ],
)
def test_c20_a_line_that_is_no_pair_is_named_when_it_is_read(
    line: str, words: str, tmp_path: Path
) -> None:
    r"""It was an IndexError in the middle of an epoch, and a printed \t was taken for a tab."""
    with pytest.raises(IndexError):
        _ = line.split("\t")[1]
    path = tmp_path / "text.txt"
    path.write_text(f"a\tb\n{line}\nc\td\n")
    with pytest.raises(DataError, match=words):
        list(read_documents([path]))


def test_c21_no_module_pickles() -> None:
    """Vocabularies and whole models were pickles: to open one was to run it."""
    folders = ("core", "models", "backends", "benchmarks")
    sources = [path for folder in folders for path in (PACKAGE / folder).rglob("*.py")]
    assert len(sources) > 60
    picklers = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [
                alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)
            ]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not picklers & {name.partition(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "torch.save"), f"{path}:{node.lineno}"
                if called in ("np.load", "np.save"):
                    assert "allow_pickle=False" in ast.unparse(node), f"{path}:{node.lineno}"


def test_c21_a_pickled_model_is_refused_and_not_run(bert_folder: Path, tmp_path: Path) -> None:
    """It could do whatever its author wanted, here write a file."""
    trace = tmp_path / "trace"
    (tmp_path / "config.json").write_text((bert_folder / "config.json").read_text())
    (tmp_path / "tokenizer.json").write_text((bert_folder / "tokenizer.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Writer(str(trace))))
    with pytest.raises(CheckpointError, match="reading it could run arbitrary code"):
        open_model(tmp_path, "numpy")
    assert not trace.exists()
    pickle.loads((tmp_path / "pytorch_model.bin").read_bytes())
    assert trace.exists()


class Writer:
    """What writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


@both_backends
def test_c21_a_checkpoint_is_all_of_a_run_and_is_of_use(
    backend: str, tokens: TokenFile, tmp_path: Path
) -> None:
    """Heads, moments and step were lost, so no run went on; and no command used the model."""
    run, data = begun(backend), examples(tokens, batch_size=4)
    assert len([*pretraining.train(run, data, until=2)]) == 2
    pretraining.save(run, tmp_path)
    again = pretraining.resume(tmp_path / pretraining.CHECKPOINT, backend)
    assert again.step == 2
    states = [one.model.state_dict() for one in (run, again)]
    assert {"masked.decoder.bias", "next.weight"} <= states[0].keys()
    for name, value in states[0].items():
        np.testing.assert_array_equal(tg.to_numpy(states[1][name]), tg.to_numpy(value), name)
    # The second step from here shows that the moments are those that were.
    rest = [
        [line["loss"] for line in pretraining.train(one, data, until=4)] for one in (run, again)
    ]
    assert rest[0] == rest[1]
    TOKENIZER.save(tmp_path / "tokenizer.json")
    model, words = open_model(tmp_path, backend)
    ((guess, *_),) = fill_mask(model, words, "w1 [MASK] w3")
    assert guess.token in words.vocabulary()


# C22 to C26: evaluation, memory, vocabularies


@both_backends
def test_c22_an_evaluation_drops_nothing_and_builds_no_graph(
    backend: str, tokens: TokenFile
) -> None:
    """It kept dropout on, so that it told another number each time, and recorded every step."""
    run, data, seen = begun(backend), examples(tokens, batch_size=4), []

    def forward(*inputs: Any) -> Any:
        seen.append((run.model.training, run.model(*inputs)))
        return seen[-1][1]

    one, two = (pretraining.evaluate(run, data, 2, forward) for _ in range(2))
    assert one == two
    for is_training, output in seen:
        assert not is_training
        assert not output.masked_logits.requires_grad
    assert run.model.training
    assert run.model(data.batch(0).input_ids).masked_logits.requires_grad


@both_backends
def test_c23_masks_have_no_rows_of_queries_and_logits_none_that_are_not_asked_for(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 texts of 20 and 30,000 words made 154 MB of logits, for 15 % that are looked at."""
    assert 64 * 20 * 30_000 * 4 == 153_600_000
    masks = []

    def spy(module: Any, layer: str, inputs: dict[str, Any], **settings: Any) -> Any:
        if layer == "attention":
            masks.append(tuple(inputs["mask"].shape))
        return apply(module, layer, inputs, **settings)

    monkeypatch.setattr(bert_model, "apply", spy)
    model = tg.build(BertForPretraining(small()), backend)
    ids, positions = ids_of(8, 20), np.arange(0, 160, 7)
    output = model(ids, attention_mask=np.ones((8, 20), bool), positions=positions)
    assert masks == [(8, 1, 1, 20)] * 2  # once copied to (8, 1, 20, 20)
    assert tuple(output.masked_logits.shape) == (23, 105)  # once (160, 105)


@both_backends
def test_c23_masks_hold_in_16_bits(backend: str) -> None:
    """Masked scores were filled with -1e9, which 16 bits cannot hold."""
    assert float(np.finfo(np.float16).min) == -65_504
    model = tg.build(Bert(small()), backend, dtype="float16").eval()
    ids, mask = ids_of(3, 9), np.arange(9) < np.array([[9], [5], [2]])
    other = np.where(mask, ids, 7)
    one, two = (hidden(model, rows, attention_mask=mask) for rows in (ids, other))
    assert one.dtype == np.float16
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one[mask], two[mask])


def test_c24_a_tokenizer_compares_with_anything_and_has_a_hash() -> None:
    """Another type was an AttributeError, as it has no such fields, and a hash a TypeError."""
    again = train_tokenizer([text for document in TEXT for text in document], "word")
    assert again == TOKENIZER
    assert hash(again) == hash(TOKENIZER)
    for other in (None, 3, "text", object(), train_tokenizer(["a b"], "word")):
        assert other != TOKENIZER
        assert TOKENIZER not in [other]
    assert len({TOKENIZER, again}) == 1


def test_c25_a_vocabulary_stays_as_small_as_it_was_asked_to_be() -> None:
    """1.76 million lines made 2,135,556 words, and a model of 1,029,286,598 numbers."""

    def parameters(vocabulary: int, hidden: int = 240, layers: int = 3) -> int:
        blocks = layers * (12 * hidden**2 + 13 * hidden)
        return 2 * vocabulary * hidden + 5 * hidden + blocks + 2 + vocabulary

    assert parameters(2_135_556) == 1_029_286_598
    assert parameters(30_522) < 17_000_000  # with the most that WordPiece takes by itself
    text = [f"{a}{b}{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
    assert len(train_tokenizer(text, "word")) == 5 + 600
    assert len(train_tokenizer(text, "word", size=100)) == 100
    pieces = train_tokenizer(text, "wordpiece", size=100)
    assert len(pieces) <= 100
    assert not any(pieces.unk_id in ids for ids in pieces.encode_many(text))


def test_c25_a_vocabulary_that_grew_large_is_told(
    twingrad: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was said until memory was out."""
    monkeypatch.setattr(vocab_command, "MANY", 7)
    (tmp_path / "text.txt").write_text("a b c d\n\ne f\n")
    call = ("vocab", "--corpus", tmp_path / "text.txt", "--out", tmp_path / "tokenizer.json")
    assert "--size or --kind wordpiece keeps it small" in twingrad(*call, "--kind", "word").err
    assert twingrad(*call, "--kind", "word", "--size", 7).err == ""


def test_c26_texts_of_other_scripts_have_words() -> None:
    """Words ended at blanks alone: a Chinese sentence was one, and so was "Köln,"."""
    text = "我爱北京 Köln, Привет"
    assert text.split() == ["我爱北京", "Köln,", "Привет"]
    made = train_tokenizer([text, "koln"], "word", lowercase=True)
    assert {"我", "爱", "北", "京", "koln", ",", "привет"} == set(made.vocabulary()) - set(NAMES)
    assert made.decode(made.encode(text)) == "我 爱 北 京 koln , привет"


@both_backends
def test_c26_a_seed_makes_a_run_what_it_is(backend: str, tokens: TokenFile) -> None:
    """There was none: no run could be had again."""

    def losses(seed: int) -> list[float]:
        run = begun(backend, seed=seed)
        data = examples(tokens, batch_size=4, seed=seed)
        return [line["loss"] for line in pretraining.train(run, data, until=2)]

    assert losses(3) == losses(3) != losses(4)


def test_c26_documents_are_held_out_unless_it_is_declined(tokens: TokenFile) -> None:
    """Every line was trained on, and nothing was kept to judge by."""
    assert PretrainingSettings().held_out == 0.1
    train, held_out = tokens.split(0.25, seed=0)
    assert (len(train), len(held_out)) == (8, 2)
    assert sorted([*train.chosen, *held_out.chosen]) == list(range(10))
