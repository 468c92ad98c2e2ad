"""Tokenizers: text to token ids and back, by whole words or by WordPiece."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twingrad.core import packages
from twingrad.core.errors import DataError, SettingError
from twingrad.core.files import whole_file
from twingrad.models.bert.corpus import read_lines

if TYPE_CHECKING:
    import tokenizers

# The names that a special token may have; a new vocabulary gets the first.
SPECIALS = {
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<sos>"),
    "sep": ("[SEP]", "<eos>"),
    "mask": ("[MASK]", "<mask>"),
}
NAMES = [names[0] for names in SPECIALS.values()]  # of a new vocabulary, in the order of their ids
KINDS = ("word", "wordpiece")
DEFAULT_SIZE = 30_522  # of a WordPiece vocabulary, as bert-base-uncased has it
CONTINUING = "##"  # before a piece that continues a word
JSON_NAME, LIST_NAME, CONFIG_NAME = "tokenizer.json", "vocab.txt", "tokenizer_config.json"


class Tokenizer:
    """A vocabulary, and the rules by which text becomes its tokens.

    `pad_id`, `unk_id`, `cls_id`, `sep_id` and `mask_id` are the ids of the special tokens;
    `special_ids` holds the ids of all special tokens. `lowercase` says whether text is
    lower-cased.
    Two tokenizers are equal if they give every text the same ids by the same rules.
    """

    def __init__(self, library: tokenizers.Tokenizer, source: str = "the tokenizer") -> None:
        self._library = library
        # A file may ask for either, but only `pair` decides on lengths.
        library.no_padding()
        library.no_truncation()
        self._ids = library.get_vocab(with_added_tokens=True)
        self._tokens = _by_id(self._ids, source)
        special = [_special_id(self._ids, role, source) for role in SPECIALS]
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = special
        added = library.get_added_tokens_decoder()
        self.special_ids = frozenset(special) | {id for id, token in added.items() if token.special}
        self._rules = library.to_str()
        self.fingerprint = hashlib.sha256(self._rules.encode()).hexdigest()
        self.lowercase = bool((json.loads(self._rules)["normalizer"] or {}).get("lowercase"))

    @classmethod
    def load(cls, path: Path, lowercase: bool = True) -> Tokenizer:
        """Read a tokenizer.json, a BERT vocab.txt, or a folder that holds one of them.

        A vocab.txt does not say whether it is lower-case: a tokenizer_config.json beside it does,
        or else `lowercase`. Raises DataError for a file that is missing or damaged, and
        MissingPackageError without the package tokenizers.
        """
        check_installed()
        path = Path(path)
        if path.is_dir():
            found = [path / name for name in (JSON_NAME, LIST_NAME) if (path / name).exists()]
            if not found:
                raise DataError(f"{path}: there is neither {JSON_NAME} nor {LIST_NAME} in it")
            path = found[0]
        if path.suffix == ".txt":
            return cls(_from_list(path, lowercase), str(path))
        return cls(_from_json(path), str(path))

    def save(self, path: Path) -> None:
        """Write a tokenizer.json; or, to a path that ends in .txt, one token per line.

        A list cannot record the case, so a tokenizer_config.json beside it does.
        Raises SettingError if a list cannot hold these rules, OutputError if it cannot be written.
        """
        path = Path(path)
        if path.suffix != ".txt":
            with whole_file(path) as file:
                file.write(self.to_json().encode())
            return
        rules = json.loads(self._rules)
        model, normalizer = rules["model"]["type"], (rules["normalizer"] or {}).get("type")
        if model not in ("WordLevel", "WordPiece") or normalizer != "BertNormalizer":
            raise SettingError(
                f"{path}: a plain list holds only the words or pieces of a BERT tokenizer; "
                f"this is {model} after {normalizer}, so save it as {JSON_NAME}"
            )
        config = path.with_name(CONFIG_NAME)
        settings = _config(config) | {"do_lower_case": self.lowercase}
        with whole_file(path) as file:
            file.writelines(f"{token}\n".encode() for token in self._tokens)
        with whole_file(config) as file:
            file.write((json.dumps(settings, indent=2) + "\n").encode())

    def to_json(self) -> str:
        """Return the text of a tokenizer.json."""
        return self._library.to_str(pretty=True)

    def __len__(self) -> int:
        return len(self._tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._rules == other._rules

    def __hash__(self) -> int:
        return hash(self._rules)

    def __repr__(self) -> str:
        return f"Tokenizer({len(self)} tokens, lowercase={self.lowercase})"

    def vocabulary(self) -> list[str]:
        """Return the tokens in the order of their ids."""
        return list(self._tokens)

    def token(self, id: int) -> str:
        """Return the token that has this id. Raises SettingError if none has."""
        if not 0 <= id < len(self):
            raise SettingError(f"token ids must be in 0..{len(self) - 1}; got {id}")
        return self._tokens[id]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, without [CLS] and [SEP] around them."""
        return self._library.encode(text, add_special_tokens=False).ids

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `encode` of each text, but faster."""
        many = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in many]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Return the text of ids, pieces joined to words; special tokens only if not skipped.

        Raises SettingError for an id that no token has.
        """
        left_out = self.special_ids if skip_special else frozenset()
        kept = [int(id) for id in ids if int(id) not in left_out]
        for id in kept:
            self.token(id)
        return self._library.decode(kept, skip_special_tokens=False)

    def pair(
        self, a: Sequence[int], b: Sequence[int] | None, length: int
    ) -> tuple[list[int], list[int]]:
        """Return the ids of [CLS] a [SEP] b [SEP] and their types: 0 up to the first [SEP], then 1.

        The longer of a and b loses its last tokens until all is at most `length` long; with None
        for b its part is left out. Raises SettingError if there is no room for any token.
        """
        specials = 2 if b is None else 3
        if length <= specials:
            raise SettingError(
                f"must be at least {specials + 1}, as {specials} special tokens surround the "
                f"text; got {length}",
                "length",
            )
        kept_a, kept_b = (
            int(kept) for kept in longest_first(len(a), len(b or ()), length - specials)
        )
        first = [self.cls_id, *a[:kept_a], self.sep_id]
        second = [] if b is None else [*b[:kept_b], self.sep_id]
        return first + second, [0] * len(first) + [1] * len(second)


def longest_first(a: Any, b: Any, room: Any) -> tuple[Any, Any]:
    """Return how many tokens of a and of b remain in `room`, taken from the longer one by one.

    Works on integers and, element by element, on arrays of them. An odd token goes to a.
    """
    kept_a = np.minimum(a, np.maximum(room - b, (room + 1) // 2))
    return kept_a, np.minimum(b, room - kept_a)


def train_tokenizer(
    sentences: Iterable[str],
    kind: str = "wordpiece",
    size: int | None = None,
    min_frequency: int = 1,
    lowercase: bool = False,
) -> Tokenizer:
    """Make a vocabulary from text: the most frequent words, or WordPiece; always the same one.

    `size` is the total, five special tokens included; None means no limit for words,
    DEFAULT_SIZE for WordPiece. `min_frequency` is the least count of a word, or of a pair that is
    merged to one piece. Both kinds split at white space and punctuation; `lowercase` also strips
    accents.
    Raises SettingError for a setting out of range, DataError for text without a word, and
    MissingPackageError without the package tokenizers.
    """
    check_training(kind, size, min_frequency)
    check_installed()
    counts = _count_words(sentences, lowercase)
    if not counts:
        raise DataError("a vocabulary must be made from text with words; there is no word in it")
    if kind == "wordpiece":
        tokens = _pieces(counts, size or DEFAULT_SIZE, min_frequency)
    else:
        frequent = [word for word, count in counts.items() if count >= min_frequency]
        frequent.sort(key=lambda word: (-counts[word], word))
        tokens = NAMES + frequent[: None if size is None else size - len(NAMES)]
    if len(tokens) == len(NAMES):
        raise DataError(
            f"no word is left with size = {size} and min_frequency = {min_frequency}; "
            f"raise size or lower min_frequency"
        )
    return Tokenizer(_assemble(tokens, kind, NAMES, lowercase))


def check_training(kind: str, size: int | None, min_frequency: int) -> None:
    """Raise the SettingError that `train_tokenizer` would, before there is any text."""
    if kind not in KINDS:
        raise SettingError(f"must be one of {', '.join(KINDS)}; got {kind!r}", "kind")
    least = len(NAMES) + 2
    if size is not None and size < least:
        raise SettingError(
            f"must be an integer >= {least}, five special tokens included; got {size!r}", "size"
        )
    if min_frequency < 1:
        raise SettingError(f"must be an integer >= 1; got {min_frequency!r}", "min_frequency")


def check_installed() -> None:
    """Raise MissingPackageError if the package tokenizers is not installed."""
    packages.require("tokenizers", "text")


def _count_words(sentences: Iterable[str], lowercase: bool) -> Counter[str]:
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalize, split = _normalizer(lowercase).normalize_str, BertPreTokenizer().pre_tokenize_str
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(word for word, _ in split(normalize(sentence)))
    return counts


def _pieces(counts: Counter[str], size: int, min_frequency: int) -> list[str]:
    """Return the tokens that the library's WordPiece trainer finds, special ones first."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    # A letter can cost two entries, alone and continuing; a word with a rarer one is unknown.
    most = (size - len(NAMES)) // 2
    alphabet = set(sorted(letters, key=lambda letter: (-letters[letter], letter))[:most])
    spelled = {word: count for word, count in sorted(counts.items()) if alphabet.issuperset(word)}
    # The trainer numbers continuing letters in the order of a hash table, and breaks ties by these
    # numbers: only as special tokens, which come first, do they have an order of ours.
    continuing = sorted({letter for word in spelled for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=NAMES + [CONTINUING + letter for letter in continuing],
        continuing_subword_prefix=CONTINUING,
        show_progress=False,
    )
    library = Tokenizer(models.WordPiece(unk_token=NAMES[1]))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = chain.from_iterable(repeat(word, count) for word, count in spelled.items())
    library.train_from_iterator(words, trainer)
    return _by_id(library.get_vocab(with_added_tokens=True), "the trained vocabulary")


def _assemble(
    tokens: list[str], kind: str, specials: Sequence[str], lowercase: bool
) -> tokenizers.Tokenizer:
    """Return BERT's tokenizer of these tokens; `specials` are its five, in the order of NAMES."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ids = {token: id for id, token in enumerate(tokens)}
    if kind == "wordpiece":
        library = Tokenizer(
            models.WordPiece(ids, unk_token=specials[1], continuing_subword_prefix=CONTINUING)
        )
        library.decoder = decoders.WordPiece(prefix=CONTINUING)
    else:
        library = Tokenizer(models.WordLevel(ids, unk_token=specials[1]))
    library.normalizer = _normalizer(lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.add_special_tokens([AddedToken(name, special=True) for name in specials])
    return library


def _normalizer(lowercase: bool) -> tokenizers.normalizers.Normalizer:
    from tokenizers.normalizers import BertNormalizer

    return BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
    )


def _from_json(path: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    text = "\n".join(read_lines(path))
    if not text.strip():
        raise DataError(f"{path}: the file is empty; it must be a {JSON_NAME}")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library has no error type of its own
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: it is not a {JSON_NAME}, or it is damaged: {reason}") from None


def _from_list(path: Path, lowercase: bool) -> tokenizers.Tokenizer:
    tokens = list(read_lines(path))
    while tokens and not tokens[-1]:
        tokens.pop()
    if not tokens:
        raise DataError(f"{path}: the file is empty; it must hold one token per line")
    ids: dict[str, int] = {}
    for number, token in enumerate(tokens, start=1):
        if not token:
            raise DataError(f"{path}: line {number}: it must hold a token; it is blank")
        if token in ids:
            raise DataError(
                f"{path}: line {number}: token {token!r} is already on line {ids[token] + 1}"
            )
        ids[token] = number - 1
    specials = [tokens[_special_id(ids, role, str(path))] for role in SPECIALS]
    lowercase = bool(_config(path.with_name(CONFIG_NAME)).get("do_lower_case", lowercase))
    return _assemble(tokens, "wordpiece", specials, lowercase)


def _config(path: Path) -> dict[str, Any]:
    """Return what a tokenizer_config.json says, nothing if there is none."""
    if not path.exists():
        return {}
    try:
        config = json.loads("\n".join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: it is not JSON, or it is damaged: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: it must be a JSON object; got {type(config).__name__}")
    return config


def _special_id(ids: dict[str, int], role: str, source: str) -> int:
    for name in SPECIALS[role]:
        if name in ids:
            return ids[name]
    raise DataError(f"{source}: there is no {role} token; expected {' or '.join(SPECIALS[role])}")


def _by_id(ids: dict[str, int], source: str) -> list[str]:
    tokens = sorted(ids, key=ids.__getitem__)
    for id, token in enumerate(tokens):
        if ids[token] != id:
            raise DataError(
                f"{source}: each id in 0..{len(ids) - 1} must belong to one token; "
                f"{token!r} has id {ids[token]} instead of {id}"
            )
    return tokens
