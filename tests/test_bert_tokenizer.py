"""Tokenizers: the same text gives the same ids, on every machine and after every round trip."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twingrad.core import packages
from twingrad.core.errors import DataError, MissingPackageError, SettingError
from twingrad.models.bert import tokenizer as module
from twingrad.models.bert.tokenizer import NAMES, Tokenizer, longest_first, train_tokenizer

TEXT = [
    "the cat sat on the mat, and the dog sat on the cat.",
    "The dog's mat is not the cat's mat; it is the dog's own mat.",
    "an unhappy dog is an unlikely dog, unless the cat is unlikely too.",
]
PIECES = train_tokenizer(TEXT, "wordpiece", 90, lowercase=True)
WORDS = train_tokenizer(TEXT, "word", lowercase=True)
BOTH = pytest.mark.parametrize("tokenizer", [PIECES, WORDS], ids=["wordpiece", "word"])
SEED_NAMES = ["<pad>", "<unk>", "<eos>", "<sos>", "<mask>"]


def write_list(path: Path, tokens: list[str]) -> Path:
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return path


@BOTH
def test_special_tokens_come_first(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocabulary()[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id]
    assert [*ids, tokenizer.mask_id] == [0, 1, 2, 3, 4]
    assert tokenizer.special_ids == {0, 1, 2, 3, 4}


@BOTH
def test_every_id_is_a_token_and_back(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.vocabulary()
    assert len(tokens) == len(tokenizer) == len(set(tokens))
    assert [tokenizer.token(id) for id in range(len(tokenizer))] == tokens


def test_words_are_ordered_by_frequency_and_then_alphabetically() -> None:
    made = train_tokenizer(["b a c b", "a, d b"], "word")
    assert made.vocabulary()[5:] == ["b", "a", ",", "c", "d"]
    assert train_tokenizer(["b a c b", "a, d b"], "word", size=7).vocabulary()[5:] == ["b", "a"]
    assert len(train_tokenizer(["b a c b", "a, d b"], "word", min_frequency=2)) == 7


def test_a_size_is_the_total_and_never_exceeded() -> None:
    """Even where the letters alone would not fit."""
    for size in (20, 30, 60, 90):
        for kind in ("word", "wordpiece"):
            assert 5 < len(train_tokenizer(TEXT, kind, size)) <= size
    assert len(train_tokenizer(TEXT, "wordpiece", 60)) == 60


def test_pieces_spell_what_words_cannot() -> None:
    unseen = "unseat"
    assert WORDS.encode(unseen) == [WORDS.unk_id]
    ids = PIECES.encode(unseen)
    assert PIECES.unk_id not in ids
    assert PIECES.decode(ids) == unseen
    assert any(PIECES.token(id).startswith("##") for id in ids)


def test_training_gives_one_vocabulary_in_every_process() -> None:
    """The library alone numbers continuing letters anew in each run, and so breaks ties anew."""
    program = (
        "from twingrad.models.bert.tokenizer import train_tokenizer\n"
        f"print(train_tokenizer({TEXT!r}, 'wordpiece', 90, lowercase=True).fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == PIECES.fingerprint
    made = {train_tokenizer(TEXT, "wordpiece", 90, lowercase=True) for _ in range(20)}
    assert made == {PIECES}


@given(st.data())
def test_many_texts_are_encoded_as_each_alone(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(max_size=30), max_size=5), label="texts")
    for tokenizer in (PIECES, WORDS):
        assert tokenizer.encode_many(texts) == [tokenizer.encode(text) for text in texts]


@given(st.data())
def test_known_words_come_back(data: st.DataObject) -> None:
    words = st.sampled_from([w for w in WORDS.vocabulary()[5:] if w.isalpha()])
    text = " ".join(data.draw(st.lists(words), label="words"))
    for tokenizer in (PIECES, WORDS):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@BOTH
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt"])
def test_saving_and_loading_changes_nothing(
    tokenizer: Tokenizer, name: str, tmp_path: Path
) -> None:
    for lowercase in (True, False):
        kind = "word" if tokenizer is WORDS else "wordpiece"
        made = train_tokenizer(TEXT, kind, 90, lowercase=lowercase)
        made.save(tmp_path / name)
        for path in (tmp_path, tmp_path / name):
            loaded = Tokenizer.load(path)
            assert loaded.vocabulary() == made.vocabulary()
            assert loaded.lowercase == lowercase
            text = "The unlikely Cat's [MASK] café xylophone."
            assert loaded.encode(text) == made.encode(text)
            if name.endswith(".json"):
                assert loaded == made
                assert loaded.fingerprint == made.fingerprint


def test_a_list_keeps_what_else_its_config_says(tmp_path: Path) -> None:
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"model_max_length": 512, "do_lower_case": false}')
    PIECES.save(tmp_path / "vocab.txt")
    assert json.loads(config.read_text()) == {"model_max_length": 512, "do_lower_case": True}


def test_a_list_is_lower_case_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = write_list(tmp_path / "vocab.txt", [*NAMES, "cafe", "Cafe", "##s"])
    assert Tokenizer.load(path).encode("Cafés") == [5, 7]
    assert Tokenizer.load(path, lowercase=False).encode("Cafes") == [6, 7]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.load(path).encode("Cafes") == [6, 7]


def test_special_tokens_may_have_other_names_and_ids(tmp_path: Path) -> None:
    """<eos> closes a segment and <sos> opens a row: pad 0, unk 1, eos 2, sos 3, mask 4."""
    tokenizer = Tokenizer.load(write_list(tmp_path / "vocab.txt", [*SEED_NAMES, "cat"]))
    assert (tokenizer.sep_id, tokenizer.cls_id, tokenizer.mask_id) == (2, 3, 4)
    assert tokenizer.pair([5], [5], 8)[0] == [3, 5, 2, 5, 2]
    assert tokenizer.encode("cat <mask> dog") == [5, 4, 1]
    moved = Tokenizer.load(write_list(tmp_path / "moved.txt", ["cat", "dog", *NAMES]))
    assert moved.special_ids == {2, 3, 4, 5, 6}
    assert moved.encode("dog bird") == [1, 3]


def test_lengths_that_a_file_asks_for_are_not_applied(tmp_path: Path) -> None:
    PIECES.save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    rule = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    content["truncation"] = rule
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert len(Tokenizer.load(tmp_path).encode(TEXT[0])) > 3


@given(st.data())
def test_a_pair_fits_and_keeps_every_sep(data: st.DataObject) -> None:
    """What is cut comes off the longer part, one by one, from its end."""
    ids = st.lists(st.integers(5, len(PIECES) - 1), max_size=30)
    a = data.draw(ids, label="a")
    b = data.draw(st.none() | ids, label="b")
    length = data.draw(st.integers(4, 70), label="length")
    row, types = PIECES.pair(a, b, length)
    kept_a, kept_b, room = list(a), list(b or []), length - (2 if b is None else 3)
    while len(kept_a) + len(kept_b) > room:
        (kept_a if len(kept_a) > len(kept_b) else kept_b).pop()
    second = [] if b is None else [*kept_b, PIECES.sep_id]
    assert row == [PIECES.cls_id, *kept_a, PIECES.sep_id, *second]
    assert types == [0] * (len(kept_a) + 2) + [1] * len(second)


def test_a_pair_without_room_is_refused() -> None:
    with pytest.raises(SettingError, match=r"length must be at least 4, as 3 special .* got 3"):
        PIECES.pair([5], [6], 3)
    with pytest.raises(SettingError, match="length must be at least 3"):
        PIECES.pair([5], None, 2)


@BOTH
def test_an_id_that_no_token_has_is_refused(tokenizer: Tokenizer) -> None:
    for id in (-1, len(tokenizer)):
        with pytest.raises(SettingError, match=rf"must be in 0\.\.{len(tokenizer) - 1}; got {id}"):
            tokenizer.token(id)
        with pytest.raises(SettingError, match="got"):
            tokenizer.decode([id])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("vocab.txt", "", "the file is empty; it must hold one token per line"),
        ("vocab.txt", "\n\n", "the file is empty"),
        ("vocab.txt", "\n".join([*NAMES, "cat", "", "dog"]), "line 7: it must hold a token"),
        (
            "vocab.txt",
            "\n".join([*NAMES, "cat", "cat"]),
            "token 'cat' is already on line 6",
        ),
        ("vocab.txt", "\n".join(NAMES[:4]), r"there is no mask token; expected \[MASK\] or <mask>"),
        ("vocab.txt", "\n".join(NAMES[1:]), r"there is no pad token"),
        ("vocab.txt", b"[PAD]\n\xff\n", "it is not utf-8: invalid start byte at byte offset 6"),
        ("tokenizer.json", "", "the file is empty; it must be a tokenizer.json"),
        ("tokenizer.json", '{"version": "1.0"', "it is not a tokenizer.json, or it is damaged"),
        ("tokenizer.json", '{"a": 1}', "it is not a tokenizer.json, or it is damaged"),
    ],
)
def test_a_bad_file_is_one_line(
    name: str, content: str | bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def damaged(**model: Any) -> str:
    content = json.loads(WORDS._library.to_str())
    content["model"].update(model)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            damaged(vocab={name: id for id, name in enumerate(NAMES)} | {"a": 9}),
            "'a' has id 9 instead of 5",
        ),
        (damaged(vocab={name: id for id, name in enumerate(NAMES)} | {"a": 4}), "instead of 5"),
        (damaged()[:-30], "damaged"),
    ],
)
def test_damaged_ids_are_one_line(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=words):
        Tokenizer.load(tmp_path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    for name in ("vocab.txt", "tokenizer.json"):
        with pytest.raises(DataError, match=f"{name}: there is no such file"):
            Tokenizer.load(tmp_path / name)
    with pytest.raises(DataError, match=r"neither tokenizer\.json nor vocab\.txt"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_config_is_named(content: str, tmp_path: Path) -> None:
    path = write_list(tmp_path / "vocab.txt", [*NAMES, "cat"])
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(DataError, match=r"tokenizer_config\.json: it (is not JSON|must be)"):
        Tokenizer.load(path)


def test_other_rules_than_berts_do_not_fit_a_list(tmp_path: Path) -> None:
    import tokenizers

    library = tokenizers.Tokenizer(tokenizers.models.BPE({n: i for i, n in enumerate(NAMES)}, []))
    other = Tokenizer(library)
    with pytest.raises(
        SettingError, match=r"this is BPE after None, so save it as tokenizer\.json"
    ):
        other.save(tmp_path / "vocab.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "letters"}, "kind must be one of word, wordpiece; got 'letters'"),
        ({"size": 6}, "size must be an integer >= 7, five special tokens included; got 6"),
        ({"min_frequency": 0}, "min_frequency must be an integer >= 1; got 0"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        train_tokenizer(TEXT, **arguments)


@pytest.mark.parametrize(
    ("text", "frequency", "words"),
    [
        ([], 1, "there is no word in it"),
        ([" ", "\t"], 1, "there is no word in it"),
        (["a b"], 2, "no word is left with size = None and min_frequency = 2"),
    ],
)
def test_text_without_words_is_refused(text: list[str], frequency: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        train_tokenizer(text, "word", min_frequency=frequency)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    words = r"^tokenizers is not installed; install it with: pip install 'twingrad\[text\]'$"
    with pytest.raises(MissingPackageError, match=words):
        train_tokenizer(TEXT)
    with pytest.raises(MissingPackageError, match=words):
        Tokenizer.load(Path("vocab.txt"))


def test_a_tab_separates_words() -> None:
    """C16: "the<TAB>the" was the word "thethe"; it is "the" twice."""
    made = train_tokenizer(["the\tthe", "stay\there"], "word")
    assert made.vocabulary()[5:] == ["the", "here", "stay"]
    assert made.encode("the\tthe") == [5, 5]


def test_skip_special_skips() -> None:
    """C17: with_pad=False kept the padding and True dropped it; skip_special does what it says."""
    row = [*PIECES.pair(PIECES.encode("the cat"), None, 9)[0], PIECES.pad_id, PIECES.pad_id]
    assert PIECES.decode(row) == "the cat"
    assert PIECES.decode(row, skip_special=False) == "[CLS] the cat [SEP] [PAD] [PAD]"


def test_a_cut_keeps_the_end_token() -> None:
    """C18: a cut dropped eos, and the length was that before the cut; the last id is [SEP]."""
    row, types = WORDS.pair(WORDS.encode(TEXT[0]), None, 6)
    assert row[-1] == WORDS.sep_id
    assert len(row) == len(types) == 6


def test_both_segments_are_there_after_a_cut() -> None:
    """C15: 40 words of a in a row of 20 left no b and no [SEP]; now b keeps its 5 and both SEPs."""
    row, types = WORDS.pair([5] * 40, [6] * 5, 20)
    assert row.count(WORDS.sep_id) == 2
    assert (row.count(5), row.count(6), types.count(1)) == (12, 5, 6)


def test_a_vocabulary_is_data_and_not_a_pickle(tmp_path: Path) -> None:
    """C21: a pickle runs code and is bound to a class path; this is JSON, or a list."""
    for name in ("tokenizer.json", "vocab.txt"):
        PIECES.save(tmp_path / name)
    json.loads((tmp_path / "tokenizer.json").read_text())
    assert (tmp_path / "vocab.txt").read_text().split("\n") == [*PIECES.vocabulary(), ""]


def test_comparison_works_with_any_type() -> None:
    """C24: == to another type was an AttributeError, and hash() a TypeError."""
    others: list[object] = [None, 3, "text", object(), WORDS]
    assert not any(other in {PIECES} or other == PIECES for other in others)
    assert len({PIECES, train_tokenizer(TEXT, "wordpiece", 90, lowercase=True), WORDS}) == 2


def test_pieces_stay_few_where_words_explode() -> None:
    """C25: 1.76 M lines gave 2 135 556 words; WordPiece holds to 30 522, or to what is asked."""
    letters = string.ascii_lowercase
    text = [f"{a}{b}{c}" for a in letters for b in letters for c in letters[:8]]
    assert len(train_tokenizer(text, "word")) == 5 + 26 * 26 * 8
    pieces = train_tokenizer(text, "wordpiece", 300)
    assert len(pieces) <= 300
    assert not any(pieces.unk_id in ids for ids in pieces.encode_many(text))
    assert module.DEFAULT_SIZE == 30_522


def test_other_scripts_have_tokens() -> None:
    """C26: whitespace words alone; now Chinese is split by character, and accents can go."""
    text = ["我爱北京", "Ça va à Köln", "Привет, мир"]
    made = train_tokenizer(text, "word", lowercase=True)
    assert {"我", "爱", "北", "京", "ca", "koln", "мир"} <= set(made.vocabulary())
    assert "Köln" in train_tokenizer(text, "word").vocabulary()


@given(st.integers(0, 50), st.integers(0, 50), st.integers(2, 60))
def test_longest_first_fills_the_room(a: int, b: int, room: int) -> None:
    kept_a, kept_b = longest_first(a, b, room)
    assert kept_a + kept_b == min(a + b, room)
    assert kept_a <= a
    assert kept_b <= b
