"""Pretraining examples: what is masked, what follows what, and that a step says it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import twingrad as tg
from twingrad.core.errors import DataError, SettingError
from twingrad.core.files import OutputError
from twingrad.core.spec import Array
from twingrad.models.bert import token_file
from twingrad.models.bert.corpus import Document, fingerprint
from twingrad.models.bert.pretraining_data import PretrainingBatch, PretrainingData
from twingrad.models.bert.token_file import TokenFile
from twingrad.models.bert.tokenizer import Tokenizer, train_tokenizer

DOCUMENTS, SENTENCES, WORDS = 12, 20, 8
LENGTH = 32


def word(document: int, sentence: int, place: int) -> str:
    """Return a word that stands nowhere else in the corpus."""
    return f"d{document}s{sentence}w{place}"


# Every word says where it stands, so a row tells where its segments come from.
CORPUS: list[Document] = [
    [" ".join(word(d, s, w) for w in range(1 + (d + s) % WORDS)) for s in range(SENTENCES)]
    for d in range(DOCUMENTS)
]
TOKENIZER = train_tokenizer([text for document in CORPUS for text in document], "word")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile.build(tmp_path_factory.mktemp("tokens") / "corpus", CORPUS, TOKENIZER)


@pytest.fixture
def data(tokens: TokenFile) -> PretrainingData:
    return PretrainingData(tokens, TOKENIZER, LENGTH, 8, seed=3)


def built(documents: list[Document], folder: Path, tokenizer: Tokenizer | None = None) -> TokenFile:
    texts = [text for document in documents for text in document]
    return TokenFile.build(folder, documents, tokenizer or train_tokenizer(texts, "word"))


def own_data(documents: list[Document], folder: Path, **settings: Any) -> PretrainingData:
    """Return data of documents with a tokenizer of their own words."""
    tokenizer = train_tokenizer([text for document in documents for text in document], "word")
    chosen = {"seq_len": LENGTH, "batch_size": 8, "seed": 0} | settings
    return PretrainingData(built(documents, folder, tokenizer), tokenizer, **chosen)


def original(batch: PretrainingBatch) -> Array:
    """Return input_ids as they were before tokens were masked."""
    ids = batch.input_ids.copy()
    ids.flat[batch.masked_positions] = batch.masked_targets
    return ids


def segments(row: Array, tokenizer: Tokenizer = TOKENIZER) -> tuple[list[str], list[str]]:
    """Return the words of a and b, having seen that specials stand where they must."""
    ids = row.tolist()
    assert ids[0] == tokenizer.cls_id
    first, second = [at for at, id in enumerate(ids) if id == tokenizer.sep_id]
    assert set(ids[second + 1 :]) <= {tokenizer.pad_id}
    parts = ids[1:first], ids[first + 1 : second]
    assert not any(tokenizer.pad_id in part or tokenizer.cls_id in part for part in parts)
    a, b = ([tokenizer.token(id) for id in part] for part in parts)
    return a, b


def place_of(token: str) -> tuple[int, int, int]:
    document, _, rest = token.removeprefix("d").partition("s")
    sentence, _, place = rest.partition("w")
    return int(document), int(sentence), int(place)


def same(one: PretrainingBatch, other: PretrainingBatch) -> bool:
    return all(map(np.array_equal, astuple(one), astuple(other)))


STREAM = [word(d, s, w) for d in range(DOCUMENTS) for s in range(SENTENCES) for w in range(8)]
STREAM = [name for name in STREAM if name in set(TOKENIZER.vocabulary())]  # the corpus in order


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_a_batch_depends_on_nothing_but_its_step(drawn: st.DataObject, tokens: TokenFile) -> None:
    """Whatever was asked for before, in another object too: so a step number resumes a run."""
    masking = drawn.draw(st.sampled_from(["dynamic", "stored"]), label="masking")
    made = [PretrainingData(tokens, TOKENIZER, LENGTH, 8, 5, masking) for _ in range(2)]
    before = drawn.draw(st.lists(st.integers(0, 300), max_size=5), label="steps before")
    step = drawn.draw(st.integers(0, 300), label="step")
    for other in before:
        made[0].batch(other)
    assert same(made[0].batch(step), made[1].batch(step))


def test_a_resumed_run_sees_what_the_whole_run_saw(tokens: TokenFile) -> None:
    whole = PretrainingData(tokens, TOKENIZER, LENGTH, 8, 0)
    run = [whole.batch(step) for step in range(3 * len(whole))]
    resumed = PretrainingData(tokens, TOKENIZER, LENGTH, 8, 0)
    for step in range(len(whole) + 1, 3 * len(whole)):
        assert same(resumed.batch(step), run[step])


def test_another_seed_gives_other_batches(data: PretrainingData, tokens: TokenFile) -> None:
    assert not same(data.batch(0), PretrainingData(tokens, TOKENIZER, LENGTH, 8, 4).batch(0))


@pytest.mark.parametrize("size", [1, 7, 8])
def test_an_example_does_not_depend_on_its_batch(size: int, tokens: TokenFile) -> None:
    all_at_once = PretrainingData(tokens, TOKENIZER, LENGTH, 1000, 0)
    in_parts = PretrainingData(tokens, TOKENIZER, LENGTH, size, 0)
    assert len(in_parts) == -(-all_at_once.examples // size)
    parts = [in_parts.batch(step).input_ids for step in range(len(in_parts))]
    assert np.array_equal(all_at_once.batch(0).input_ids, np.concatenate(parts))


def test_the_arrays_are_what_a_model_takes(data: PretrainingData) -> None:
    batch = data.batch(0)
    rows = (batch.input_ids, batch.token_type_ids, batch.attention_mask)
    assert [array.shape for array in rows] == [(8, LENGTH)] * 3
    assert [str(array.dtype) for array in rows] == ["int64", "int64", "bool"]
    assert batch.next_sentence_label.shape == (8,)
    assert batch.next_sentence_label.dtype == np.int64
    assert batch.masked_positions.dtype == batch.masked_targets.dtype == np.int64
    assert batch.masked_positions.shape == batch.masked_targets.shape
    assert (np.diff(batch.masked_positions) > 0).all()


def test_types_and_attention_follow_the_segments(data: PretrainingData) -> None:
    for step in range(len(data)):
        batch = data.batch(step)
        for row, ids in enumerate(original(batch)):
            a, b = segments(ids)
            zeros, ones, rest = len(a) + 2, len(b) + 1, LENGTH - len(a) - len(b) - 3
            assert batch.token_type_ids[row].tolist() == [0] * zeros + [1] * ones + [0] * rest
            assert batch.attention_mask[row].tolist() == [True] * (zeros + ones) + [False] * rest


def test_segments_are_text_and_labels_are_true(tokens: TokenFile) -> None:
    """a and b are runs of the corpus; b follows a (0), or is of another document (1)."""
    data = PretrainingData(tokens, TOKENIZER, LENGTH, 8, 3, short_rate=0.0)
    at = {name: number for number, name in enumerate(STREAM)}
    labels = []
    for step in range(30 * len(data)):
        batch = data.batch(step)
        for label, row in zip(batch.next_sentence_label, original(batch), strict=True):
            a, b = segments(row)
            assert a
            assert b
            for part in (a, b):
                assert part == STREAM[at[part[0]] :][: len(part)]
                assert len({place_of(name)[0] for name in part}) == 1
            if label == 0:
                assert at[b[0]] == at[a[-1]] + 1
            else:
                assert place_of(a[0])[0] != place_of(b[0])[0]
                assert place_of(b[0])[1] > 0  # as no true b opens its document
                assert place_of(b[0])[2] == 0
            labels.append(label)
    assert set(labels) == {0, 1}
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / len(labels) ** 0.5


def test_lengths_do_not_give_a_random_pair_away(data: PretrainingData) -> None:
    lengths: dict[int, list[int]] = {0: [], 1: []}
    for step in range(20 * len(data)):
        batch = data.batch(step)
        for label, used in zip(batch.next_sentence_label, batch.attention_mask, strict=True):
            lengths[int(label)].append(int(used.sum()))
    assert abs(np.mean(lengths[0]) - np.mean(lengths[1])) < 0.5  # tokens, of 30


def test_every_word_is_shown_in_a_few_epochs(data: PretrainingData) -> None:
    seen: set[int] = set()
    for step in range(12 * len(data)):
        seen.update(original(data.batch(step)).ravel().tolist())
    assert len(seen & set(range(5, len(TOKENIZER)))) > 0.99 * (len(TOKENIZER) - 5)


def test_dynamic_masking_draws_anew_and_stored_does_not(tokens: TokenFile) -> None:
    for masking, repeats in (("stored", True), ("dynamic", False)):
        made = PretrainingData(tokens, TOKENIZER, LENGTH, 1000, 0, masking)
        epochs = [made.batch(epoch).input_ids for epoch in range(3)]
        assert not np.array_equal(epochs[0], epochs[1])  # the order is always another
        one, other = ({tuple(row) for row in epoch.tolist()} for epoch in epochs[:2])
        assert (one == other) == repeats
        assert repeats or len(one & other) < 0.02 * len(one)


def test_some_rows_are_short(tokens: TokenFile) -> None:
    for rate, low, high in ((0.0, 0.0, 0.1), (0.5, 0.35, 0.65), (1.0, 0.9, 1.0)):
        made = PretrainingData(tokens, TOKENIZER, LENGTH, 1000, 0, short_rate=rate)
        used = np.concatenate([made.batch(epoch).attention_mask.sum(1) for epoch in range(20)])
        assert low <= np.mean(used < LENGTH) <= high
        assert used.min() >= 5


def test_the_longer_segment_is_cut(tmp_path: Path) -> None:
    long, short = " ".join(f"l{n}" for n in range(90)), "s0 s1"
    data = own_data([[long, short], [short, long]], tmp_path / "t", short_rate=0.0)
    for step in range(40):
        for row in original(data.batch(step)):
            a, b = segments(row, data.tokenizer)
            if min(len(a), len(b)) < 14:
                assert min((a, b), key=len) == ["s0", "s1"]


def test_a_document_of_one_sentence_is_split_in_its_middle(tmp_path: Path) -> None:
    documents = [[" ".join(f"d{d}w{w}" for w in range(9))] for d in range(6)]
    data = own_data(documents, tmp_path / "t", short_rate=0.0)
    labels = []
    for step in range(30):
        batch = data.batch(step)
        labels += batch.next_sentence_label.tolist()
        for label, row in zip(batch.next_sentence_label, original(batch), strict=True):
            a, b = segments(row, data.tokenizer)
            assert (len(a), len(b)) == (5, 4)
            assert (" ".join(a + b) in [text for (text,) in documents]) == (label == 0)
    assert set(labels) == {0, 1}


def test_a_sentence_longer_than_a_row_is_shown_everywhere(tmp_path: Path) -> None:
    """As are documents without line ends; a random b starts inside one, as every true one does."""
    documents = [
        [" ".join(f"d{d}w{w}" for w in range(size))] for d, size in enumerate([200, 90, 6])
    ]
    data = own_data(documents, tmp_path / "t", short_rate=0.0)
    followed: set[str] = set()
    random_starts: set[str] = set()
    for step in range(60 * len(data)):
        batch = data.batch(step)
        for label, row in zip(batch.next_sentence_label, original(batch), strict=True):
            a, b = segments(row, data.tokenizer)
            assert len({name.partition("w")[0] for name in b}) == 1
            if label == 0:
                assert any(" ".join(a + b) in text for (text,) in documents)
                followed.update(a, b)
            else:
                random_starts.add(b[0])
    assert len(followed) == 296
    assert len(random_starts) > 150


def test_short_documents_do_not_give_a_random_pair_away(tmp_path: Path) -> None:
    """b has as many sentences as the true one: 12 words in all, whatever the label."""
    documents = [[f"d{d}s{s}w0 d{d}s{s}w1" for s in range(6)] for d in range(9)]
    data = own_data(documents, tmp_path / "t", short_rate=0.0)
    for step in range(20 * len(data)):
        assert (data.batch(step).attention_mask.sum(axis=1) == 12 + 3).all()


def test_a_single_token_can_only_have_a_random_b(tmp_path: Path) -> None:
    data = own_data([["one"], ["two"], ["three"]], tmp_path / "t")
    batch = data.batch(0)
    assert batch.next_sentence_label.tolist() == [1, 1, 1]
    for row in original(batch):
        a, b = segments(row, data.tokenizer)
        assert len(a) == len(b) == 1
        assert a != b


def test_pairs_of_lines_keep_their_sides(tmp_path: Path) -> None:
    """In a file of pairs b is always a second column, the true one or another line's."""
    documents = [[f"q{n} ask it", f"a{n} say it then"] for n in range(40)]
    data = own_data(documents, tmp_path / "t", short_rate=0.0)
    for step in range(10):
        batch = data.batch(step)
        for label, row in zip(batch.next_sentence_label, original(batch), strict=True):
            a, b = segments(row, data.tokenizer)
            assert (a[1:], b[1:]) == (["ask", "it"], ["say", "it", "then"])
            assert (a[0][1:] == b[0][1:]) == (label == 0)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_any_corpus_gives_whole_rows(
    drawn: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every length, rate and shape of the documents: two SEPs, a target, no special one."""
    text = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12).map(" ".join)
    document = st.lists(text, min_size=1, max_size=5)
    documents = drawn.draw(st.lists(document, min_size=2, max_size=5), label="documents")
    data = own_data(
        documents,
        tmp_path_factory.mktemp("any") / "t",
        seq_len=drawn.draw(st.integers(5, 40), label="seq_len"),
        batch_size=drawn.draw(st.integers(1, 9), label="batch_size"),
        mask_rate=drawn.draw(st.floats(0.01, 1.0), label="mask_rate"),
        short_rate=drawn.draw(st.floats(0.0, 1.0), label="short_rate"),
    )
    for step in range(min(6, 2 * len(data))):
        batch = data.batch(step)
        rows = original(batch)
        counts = np.bincount(batch.masked_positions // data.seq_len, minlength=len(rows))
        for row, count in zip(rows, counts, strict=True):
            a, b = segments(row, data.tokenizer)
            assert a
            assert b
            assert count == max(1, round(data.mask_rate * (len(a) + len(b))))
        assert not data.tokenizer.special_ids & set(batch.masked_targets.tolist())


def test_masks_have_their_shares(tokens: TokenFile) -> None:
    """Of many targets 80 % are [MASK], 10 % any ordinary token and 10 % as they were."""
    data = PretrainingData(tokens, TOKENIZER, 512, 64, 0)
    shown, targets = [], []
    for step in range(500 * len(data)):
        batch = data.batch(step)
        shown.append(batch.input_ids.ravel()[batch.masked_positions])
        targets.append(batch.masked_targets)
    now, before = np.concatenate(shown), np.concatenate(targets)
    count = len(before)
    assert count > 50_000
    masked, kept = np.mean(now == TOKENIZER.mask_id), np.mean(now == before)
    for share, due in ((masked, 0.8), (kept, 0.1), (1 - masked - kept, 0.1)):
        assert abs(share - due) < 4 * (due * (1 - due) / count) ** 0.5 + 0.1 / len(TOKENIZER)


def test_validation_documents_are_kept_apart(tokens: TokenFile) -> None:
    """C26: there was no validation split and no seed; a view has its own documents, by seed."""
    train, held_out = tokens.split(0.25, seed=1)
    assert (len(train), len(held_out)) == (9, 3)
    assert sorted([*train.chosen, *held_out.chosen]) == list(range(DOCUMENTS))
    assert train.token_count + held_out.token_count == tokens.token_count == len(tokens.tokens)
    again, other = tokens.split(0.25, seed=1)[1], tokens.split(0.25, seed=2)[1]
    assert np.array_equal(held_out.chosen, again.chosen)
    assert not np.array_equal(held_out.chosen, other.chosen)
    for view in (train, held_out):
        data = PretrainingData(view, TOKENIZER, LENGTH, 8, 0)
        for step in range(2 * len(data)):
            for row in original(data.batch(step)):
                a, b = segments(row)
                assert {place_of(name)[0] for name in a + b} <= set(view.chosen)
    everything, nothing = tokens.split(0, seed=1)
    assert (len(everything), len(nothing)) == (DOCUMENTS, 0)


def test_a_split_that_cannot_be_is_refused(tokens: TokenFile) -> None:
    with pytest.raises(SettingError, match=r"held_out must be a number in \[0, 1\); got 1"):
        tokens.split(1, seed=0)
    with pytest.raises(DataError, match=r"12 documents cannot be split with 0\.95 held out"):
        tokens.split(0.95, seed=0)
    with pytest.raises(SettingError, match="seed"):
        tokens.split(0.2, seed=-1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seq_len": 4}, "seq_len must be an integer >= 5; got 4"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1; got 0"),
        ({"masking": "static"}, "masking must be one of dynamic, stored; got 'static'"),
        ({"mask_rate": 0.0}, r"mask_rate must be a share in \(0, 1\]; got 0.0"),
        ({"mask_rate": float("nan")}, "mask_rate"),
        ({"short_rate": 1.5}, r"short_rate must be a share in \[0, 1\]; got 1.5"),
        ({"seed": -1}, "seed must be an integer >= 0; got -1"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], words: str, tokens: TokenFile) -> None:
    with pytest.raises(SettingError, match=words):
        PretrainingData(
            tokens, TOKENIZER, **({"seq_len": LENGTH, "batch_size": 8, "seed": 0} | arguments)
        )


def test_what_does_not_fit_is_refused(data: PretrainingData, tokens: TokenFile) -> None:
    with pytest.raises(SettingError, match="step must be an integer >= 0; got -1"):
        data.batch(-1)
    one = replace(tokens, chosen=tokens.chosen[:1])
    with pytest.raises(DataError, match=r"at least two documents.*got 1"):
        PretrainingData(one, TOKENIZER, LENGTH, 8, 0)
    with pytest.raises(DataError, match="made with another tokenizer"):
        PretrainingData(tokens, train_tokenizer(["a b"], "word"), LENGTH, 8, 0)


def test_a_token_file_is_the_corpus(tokens: TokenFile, tmp_path: Path) -> None:
    assert tokens.tokens.dtype == np.uint16
    assert tokens.sentences.dtype == tokens.documents.dtype == np.int64
    assert tokens.corpus == fingerprint(CORPUS)
    assert tokens.tokenizer == TOKENIZER.fingerprint
    for d, document in enumerate(CORPUS):
        numbers = range(tokens.documents[d], tokens.documents[d + 1])
        parts = [tokens.tokens[slice(*tokens.sentences[s : s + 2])] for s in numbers]
        assert [TOKENIZER.decode(part) for part in parts] == document


def test_documents_may_come_in_any_groups(
    tokens: TokenFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "DOCUMENTS_AT_ONCE", 5)
    other = built(CORPUS, tmp_path / "t", TOKENIZER)
    for name in token_file.ARRAYS:
        assert np.array_equal(getattr(other, name), getattr(tokens, name))
    assert other.corpus == tokens.corpus


def test_large_vocabularies_have_wider_ids(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(70_000))]
    path.write_text("\n".join(names))
    tokenizer = Tokenizer.load(path)
    made = built([["w69999 w1"], ["w2"]], tmp_path / "t", tokenizer)
    assert made.tokens.dtype == np.int32
    assert tokenizer.decode(made.tokens[:2]) == "w69999 w1"


def test_sentences_that_teach_nothing_are_left_out(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b c"], "word")
    made = built([["a b", "x y", " "], ["z"], ["c x"]], tmp_path / "t", tokenizer)
    assert made.documents.tolist() == [0, 1, 2]
    assert made.tokens.tolist() == [*tokenizer.encode("a b"), *tokenizer.encode("c x")]
    with pytest.raises(DataError, match="at least two documents that hold a known token; got 1"):
        built([["a b"], ["z"]], tmp_path / "other", tokenizer)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["tokens.npy", "sentences.npy", "documents.npy", "tokens.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "gone", "changed"])
def test_a_damaged_token_file_is_one_line(name: str, how: str, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    built(CORPUS, folder, TOKENIZER)
    path = folder / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        path.write_bytes({"cut": content[:-9], "empty": b"", "changed": flipped}[how])
    with pytest.raises(DataError, match=r"build it again|not a token file") as caught:
        TokenFile.load(folder, TOKENIZER)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "must be 'twingrad tokens' of version 1; got 'twingrad tokens' of 2"),
        ({"corpus": None}, r"damaged \(no corpus\)"),
        ({"arrays": {}}, r"damaged \(no documents, sentences, tokens\)"),
        ({"arrays": 3}, "damaged"),
        ({"tokenizer": "0"}, "it was made with another tokenizer; build it again"),
    ],
)
def test_a_token_file_of_another_kind_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    built(CORPUS, tmp_path / "t", TOKENIZER)
    path = tmp_path / "t" / "tokens.json"
    about = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in about.items() if value is not None}))
    with pytest.raises(DataError, match=words):
        TokenFile.load(tmp_path / "t", TOKENIZER)


def test_a_missing_token_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: it is not a token file: it has no tokens"):
        TokenFile.load(tmp_path / "nowhere", TOKENIZER)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (DataError("bad line"), DataError),
        (OSError("disk"), OutputError),
    ],
)
def test_an_interrupted_build_leaves_nothing(
    error: BaseException, expected: type[BaseException], tmp_path: Path
) -> None:
    """Neither a part of a new file nor a scratch on the one that is there."""

    def documents() -> Iterator[Document]:
        yield from CORPUS
        raise error

    with pytest.raises(expected):
        TokenFile.build(tmp_path / "t", documents(), TOKENIZER)
    assert not list(tmp_path.iterdir())
    kept = built(CORPUS, tmp_path / "t", TOKENIZER)
    with pytest.raises(expected):
        TokenFile.build(tmp_path / "t", documents(), TOKENIZER)
    assert np.array_equal(TokenFile.load(tmp_path / "t", TOKENIZER).tokens, kept.tokens)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"^cannot write [^:]*: [^:]*$"):
        built(CORPUS, tmp_path / "file", TOKENIZER)
    assert (tmp_path / "file").read_text() == "in the way"


def test_next_sentence_labels_are_all_asked(tokens: TokenFile) -> None:
    """C1: label 0 was ignored, and a batch without 1 was 0/0 = NaN; 1-row batches are finite."""
    data = PretrainingData(tokens, TOKENIZER, LENGTH, 1, 0)
    labels = np.concatenate([data.batch(step).next_sentence_label for step in range(len(data))])
    assert set(labels) == {0, 1}
    losses = -tg.forward("log_softmax", {"x": np.array([0.3, -0.2])})[labels]
    assert np.isfinite(losses).all()
    assert losses.min() > 0  # of either label


def test_every_sequence_has_a_target(tmp_path: Path) -> None:
    """C2: 27 % of the sequences of 8 tokens had none, a mean over nothing; now none has none."""
    documents = [[f"a{n} b{n}", f"c{n} d{n} e{n}"] for n in range(30)]
    data = own_data(documents, tmp_path / "t", seq_len=8)
    for step in range(100):
        batch = data.batch(step)
        assert set(batch.masked_positions // 8) == set(range(len(batch.input_ids)))


def test_a_random_token_is_never_special(tmp_path: Path) -> None:
    """C10: 3.6 % of the random tokens were special, some of them padding; now none is."""
    documents = [["a b c d e f g h"], ["b a d c f e h g"]]
    data = own_data(documents, tmp_path / "t", mask_rate=1.0, batch_size=2)
    seen = np.concatenate([data.batch(step).input_ids[:, 1:4].ravel() for step in range(300)])
    others = set(seen.tolist()) - {data.tokenizer.mask_id, data.tokenizer.sep_id}
    assert others == set(range(5, 13))


def test_the_count_of_targets_is_exact(data: PretrainingData) -> None:
    """C11: each token tossed a coin of its own; a row of 29 has exactly round(0.15 * 29) = 4."""
    for step in range(2 * len(data)):
        batch = data.batch(step)
        counts = np.bincount(batch.masked_positions // LENGTH, minlength=len(batch.input_ids))
        for used, count in zip(batch.attention_mask.sum(1), counts, strict=True):
            assert count == max(1, round(0.15 * (used - 3)))


def test_tokens_that_are_no_target_are_ids_as_well(data: PretrainingData) -> None:
    """C12: what was not masked stayed a string; every row is ids, and the rest is as it was."""
    batch = data.batch(0)
    rest = np.ones(batch.input_ids.size, dtype=bool)
    rest[batch.masked_positions] = False
    assert np.array_equal(batch.input_ids.ravel()[rest], original(batch).ravel()[rest])
    assert TOKENIZER.mask_id not in batch.input_ids.ravel()[rest]


def test_unknown_tokens_are_no_targets(tmp_path: Path) -> None:
    """C13: a masked unknown word taught the model to say <unk>; it is never a target now."""
    tokenizer = train_tokenizer(["a b c d"], "word")
    documents = [["a x b", "y c x"], ["c y", "x x x x d"]]
    tokens = built(documents, tmp_path / "t", tokenizer)
    data = PretrainingData(tokens, tokenizer, 20, 2, 0, mask_rate=1.0)
    for step in range(50):
        batch = data.batch(step)
        assert tokenizer.unk_id not in batch.masked_targets
        known = (original(batch) > 4).sum()
        assert len(batch.masked_targets) == known


def test_a_row_of_unknown_tokens_alone_has_no_target(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a"], "word")
    tokens = built([["x " * 20 + "a"], ["x " * 20 + "a"]], tmp_path / "t", tokenizer)
    data = PretrainingData(tokens, tokenizer, 6, 2, 0)
    counts = [len(data.batch(step).masked_targets) for step in range(2 * len(data))]
    assert 0 in counts


def test_targets_are_masked_and_not_made_unknown(data: PretrainingData) -> None:
    """C14: "15 % become unknown" misread it: 15 % are chosen, and 80 % of them are [MASK]."""
    batches = [data.batch(step) for step in range(len(data))]
    shown = np.concatenate([b.input_ids.ravel()[b.masked_positions] for b in batches])
    assert TOKENIZER.unk_id not in shown
    assert np.mean(shown == TOKENIZER.mask_id) > 0.7


def test_no_cut_takes_a_segment_away(tokens: TokenFile) -> None:
    """C15: a long a left no b and no second [SEP], and still the question; now both are there."""
    data = PretrainingData(tokens, TOKENIZER, 6, 8, 0)
    for step in range(len(data)):
        for row in original(data.batch(step)):
            a, b = segments(row)
            assert a
            assert b


def test_a_corpus_is_mapped_and_not_read(tokens: TokenFile, data: PretrainingData) -> None:
    """C19: on_memory=False raised a TypeError at once; a mapped file is the only way here."""
    for array in (tokens.tokens, tokens.sentences, tokens.documents):
        assert isinstance(array, np.memmap)
    assert np.shares_memory(data._tokens, tokens.tokens)


def test_data_on_one_file_do_not_disturb_each_other(tokens: TokenFile) -> None:
    """C19: workers shared a handle and moved its place; a mapped file has none."""
    alone = PretrainingData(tokens, TOKENIZER, LENGTH, 8, 9).batch(0)
    both = [PretrainingData(tokens, TOKENIZER, LENGTH, 8, seed) for seed in (1, 9)]
    both[0].batch(7)
    assert same(both[1].batch(0), alone)
