"""Hugging Face folders: what `transformers` computes, we compute; what it writes, we read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors

import twingrad as tg
from twingrad.core.errors import CheckpointError, SettingError, TwingradError
from twingrad.core.files import OutputError
from twingrad.core.spec import Array, Arrays
from twingrad.models.bert import huggingface
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.folder import open_model, open_weights
from twingrad.models.bert.huggingface import load_model, read_weights, save_model
from twingrad.models.bert.model import Bert, BertForClassification, BertForPretraining
from twingrad.models.bert.tokenizer import Tokenizer, train_tokenizer
from twingrad.parity_tests.laws.roundings import roundings

BACKENDS = ("numpy", "torch")
both_backends = pytest.mark.parametrize("backend", BACKENDS)
UNIT = 2.0**-24  # of float32
STEP = 1e-6  # by which parameters are changed to see how much that matters
FUNCTIONS = 16  # roundings of what is no sum in a block: erf, exp, tanh, roots, quotients
NAMES = ("input_ids", "token_type_ids", "attention_mask")
WORDS = "bert.embeddings.word_embeddings.weight"
QUERY = "bert.encoder.layer.0.attention.self.query.weight"

# It leaves files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
transformers.utils.logging.disable_progress_bar()


# The same numbers


@st.composite
def cases(draw: Callable[[Any], Any]) -> tuple[dict[str, Any], dict[str, Array], int]:
    """Draw a config of theirs, a padded batch, and a seed for all other numbers."""
    heads = draw(st.integers(1, 3))
    config = {
        "vocab_size": draw(st.integers(12, 40)),
        "hidden_size": heads * draw(st.integers(4, 8)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(4, 48)),
        "max_position_embeddings": 12,
        "type_vocab_size": draw(st.integers(1, 3)),
        "hidden_act": draw(st.sampled_from(sorted(huggingface.GELUS))),
        "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
        "initializer_range": 0.3,
    }
    rows, length, seed = (draw(st.integers(*ends)) for ends in ((1, 3), (3, 12), (0, 999)))
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, length, rows, endpoint=True)
    mask = np.arange(length) < lengths[:, None]
    batch = {
        # Theirs keeps the gradient from the padding row, which is no token of a text.
        "input_ids": np.where(mask, rng.integers(1, config["vocab_size"], mask.shape), 0),
        "token_type_ids": rng.integers(0, config["type_vocab_size"], mask.shape),
        "attention_mask": mask,
    }
    return config, batch, seed


def write_theirs(folder: Path, model: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(model.config.to_json_string(use_diff=False))
    save_tensors(dict(model.named_parameters()), folder / "model.safetensors", {"format": "pt"})


def drawn_model(config: dict[str, Any], seed: int) -> Any:
    """Return their model in float64, all of its parameters drawn, biases and norms included."""
    torch.manual_seed(seed)
    theirs = transformers.BertConfig(**config, attn_implementation="eager")
    model = transformers.BertForPreTraining(theirs).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
            # As many digits as float32 has, so that all dtypes start from the same numbers.
            parameter.copy_(parameter.float())
    return model


def upstream(batch: dict[str, Array], vocab_size: int, seed: int) -> tuple[Array, Array]:
    """Return gradients of both logits: those of padding are 0, as no loss asks for them."""
    rng = np.random.default_rng(seed)
    mask = batch["attention_mask"]
    masked = rng.standard_normal((*mask.shape, vocab_size)) * mask[:, :, None]
    return masked, rng.standard_normal((len(mask), 2))


def theirs_all(model: Any, batch: dict[str, Array], seed: int) -> Arrays:
    """Return outputs and gradients of their model, by their names."""
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    output = model(**tensors, output_hidden_states=True)
    pooled = model.bert.pooler(output.hidden_states[-1])
    masked, following = map(
        torch.from_numpy, upstream(batch, output.prediction_logits.shape[-1], seed)
    )
    model.zero_grad()
    loss = (output.prediction_logits * masked).sum()
    (loss + (output.seq_relationship_logits * following).sum()).backward()
    values = {f"hidden {number}": x for number, x in enumerate(output.hidden_states)}
    values |= {"pooled": pooled, "next": output.seq_relationship_logits}
    values["masked"] = output.prediction_logits
    values |= {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: value.detach().numpy().copy() for name, value in values.items()}


def ours_all(model: Any, batch: dict[str, Array], seed: int, dtype: str) -> Arrays:
    """Return outputs and gradients of our model, by their names."""
    encoded = model.bert(*batch.values(), return_all=True)
    output = model(*batch.values())
    vocab_size = model.config.vocab_size
    masked, following = (x.astype(dtype) for x in upstream(batch, vocab_size, seed))
    backend = model.backend
    weights = tg.tensor(masked.reshape(-1, vocab_size), backend), tg.tensor(following, backend)
    loss = (output.masked_logits * weights[0]).sum() + (output.next_logits * weights[1]).sum()
    loss.backward()
    values = {f"hidden {number}": x for number, x in enumerate(encoded.hidden_states)}
    values |= {"pooled": encoded.pooled, "next": output.next_logits}
    values["masked"] = output.masked_logits.reshape(*masked.shape)
    for name, parameter in model.named_parameters():
        values[huggingface.huggingface_name(name)] = parameter.grad
    return {name: tg.to_numpy(value) for name, value in values.items()}


def scale(values: Arrays, name: str) -> float:
    """Return the size of a result, by which its error is judged."""
    # Softmax does not see the key's bias: in its gradient all terms cancel, and they are as large
    # as the gradients of the scores' other side.
    terms = [name.replace("key.bias", other) for other in ("query.weight", "value.weight")]
    return max(float(np.abs(values[term]).max()) for term in terms)


def sensitivity(model: Any, batch: dict[str, Array], seed: int, values: Arrays) -> dict[str, float]:
    """Return how far each result moves, per relative change of all numbers on the way, at random.

    Those are the parameters, and what comes out of each part of the model, as rounding moves them;
    what flows back through a part is moved by as much.
    """
    moved = dict.fromkeys(values, 0.0)
    before = {name: parameter.clone() for name, parameter in model.state_dict().items()}

    def nudge(part: Any, inputs: Any, output: Any) -> Any:
        return output * (1 + STEP * torch.randn_like(output).sign())

    hooks = [
        part.register_forward_hook(nudge) for part in model.modules() if not list(part.children())
    ]
    for number in range(3):
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1 + STEP * torch.randn_like(parameter).sign()
        for name, value in theirs_all(model, batch, seed).items():
            moved[name] = max(moved[name], float(np.abs(value - values[name]).max()) / STEP)
        model.load_state_dict(before)
    for hook in hooks:
        hook.remove()
    return moved


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=cases())
def test_outputs_and_gradients_are_those_of_transformers(case: Any, tmp_path: Path) -> None:
    """In float64 to 1e-12.

    In float32 to as much as the result moves if every number on the way moves by all the roundings
    that the longest sum carries: more than a sound implementation's can matter.
    """
    config, batch, seed = case
    model = drawn_model(config, seed)
    write_theirs(tmp_path, model)
    expected = theirs_all(model, batch, seed)
    moved = sensitivity(model, batch, seed, expected)
    tokens = batch["input_ids"].size
    longest = max(config["vocab_size"], config["intermediate_size"], config["hidden_size"], tokens)
    carried = 2 * (roundings(longest) + FUNCTIONS)  # forward and backward
    for backend in BACKENDS:
        for dtype in ("float64", "float32"):
            found = ours_all(load_model(tmp_path, backend, dtype), batch, seed, dtype)
            for name, value in found.items():
                size = scale(expected, name)
                room = 1e-12 * size
                if dtype == "float32":
                    room = UNIT * carried * max(moved[name], size)
                error = float(np.abs(value - expected[name]).max())
                assert error <= room, f"{backend} {dtype} {name}: {error} > {room}"
            assert set(found) == set(expected)


@both_backends
def test_what_we_write_transformers_reads(backend: str, bert_folder: Path, tmp_path: Path) -> None:
    """Each kind of model gives the logits that it gave here."""
    weights, tokenizer = open_weights(bert_folder)
    theirs_of = {
        "pretraining": transformers.BertForPreTraining,
        "masked": transformers.BertForMaskedLM,
        "next": transformers.BertForNextSentencePrediction,
        "encoder": transformers.BertModel,
    }
    ids = np.array([[2, 6, 4, 7, 3, 8, 9, 3], [2, 5, 3, 10, 3, 0, 0, 0]])
    segments = np.array([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0]])
    arrays = (ids, segments, ids != 0)
    for head, kind in theirs_of.items():
        ours = weights.model(head, backend)
        save_model(ours, tokenizer, tmp_path / head)
        theirs, info = kind.from_pretrained(tmp_path / head, output_loading_info=True)
        unexpected = info.pop("unexpected_keys")
        assert not any(info.values()), info
        # Theirs has no pooler where nothing reads it.
        assert head == "masked" or not unexpected, unexpected
        theirs.eval()
        with torch.no_grad():
            there = theirs(**dict(zip(NAMES, map(torch.from_numpy, arrays), strict=True)))
        output = ours(*arrays)
        here = [x for x in output[:2] if x is not None]
        for one, other in zip(here, there.to_tuple(), strict=True):
            one = tg.to_numpy(one).reshape(other.shape)
            np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=64 * UNIT * abs(one).max())


def test_the_tokenizer_is_theirs_too(bert_folder: Path) -> None:
    tokenizer, theirs = Tokenizer.load(bert_folder), None
    theirs = transformers.AutoTokenizer.from_pretrained(bert_folder)
    a, b = "The cat sat", "a dog [MASK] on it"
    ids, segments = tokenizer.pair(tokenizer.encode(a), tokenizer.encode(b), 24)
    encoded = theirs(a, b)
    assert encoded["input_ids"] == ids
    assert encoded["token_type_ids"] == segments
    assert theirs.mask_token_id == tokenizer.mask_id
    assert theirs.pad_token_id == tokenizer.pad_id
    assert theirs.model_max_length == 24


@both_backends
def test_a_classifier_keeps_its_labels(backend: str, bert_folder: Path, tmp_path: Path) -> None:
    weights, tokenizer = open_weights(bert_folder)
    model = weights.new_classifier(3, seed=1, backend=backend)
    with pytest.raises(SettingError, match="labels must name 3 classes; got 0"):
        save_model(model, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_model(model, tokenizer, tmp_path / "out", ["no", "yes", "straße"])
    again = open_weights(tmp_path / "out")[0]
    assert again.labels == ("no", "yes", "straße")
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert theirs.config.id2label == {0: "no", 1: "yes", 2: "straße"}
    ids = np.array([[2, 6, 7, 3]])
    with torch.no_grad():
        there = theirs(torch.from_numpy(ids)).logits.numpy()
    here = tg.to_numpy(again.model("classification", backend)(ids))
    np.testing.assert_allclose(here, there, rtol=0, atol=64 * UNIT * abs(here).max())


@both_backends
@pytest.mark.parametrize("p", [None, 0.0, 0.4])
def test_the_dropout_before_a_classifier_is_theirs(
    p: float | None, backend: str, folder: Path, tmp_path: Path
) -> None:
    """hidden_dropout_prob (0.1 here) if classifier_dropout is null; and it is written back."""
    change_config(folder, classifier_dropout=p)
    weights, tokenizer = open_weights(folder)
    model = weights.new_classifier(2, backend=backend)
    theirs = transformers.BertForSequenceClassification(
        transformers.BertConfig.from_pretrained(folder)
    )
    assert model.dropout.p == theirs.dropout.p == (0.1 if p is None else p)
    # With nothing else at random, that alone decides whether two calls differ.
    config = replace(weights.config, dropout=0.0, attention_dropout=0.0)
    still = tg.build(BertForClassification(config, 2), backend).train()
    one, two = (tg.to_numpy(still(np.full((50, 4), 6))) for _ in range(2))
    assert np.array_equal(one, two) == (not p)
    save_model(model, tokenizer, tmp_path / "out", ["no", "yes"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["classifier_dropout"] == p
    assert open_weights(tmp_path / "out")[0].config == weights.config


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"gelu": "tanh"}])
def test_a_round_trip_changes_no_bit(
    changes: dict[str, Any], bert_folder: Path, tmp_path: Path
) -> None:
    """A free decoder makes it, too; the tokenizer's rules are what they were."""
    weights, tokenizer = open_weights(bert_folder)
    config = replace(weights.config, **changes)
    model = tg.build(BertForPretraining(config), "numpy", seed=3)
    save_model(model, tokenizer, tmp_path)
    again, same = open_model(tmp_path, "torch")
    assert again.config == config
    assert same == tokenizer
    expected = model.state_dict()
    for name, value in again.state_dict().items():
        np.testing.assert_array_equal(tg.to_numpy(value), expected[name], name, strict=True)


# What a folder may look like


@pytest.fixture
def folder(bert_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the small BERT's folder."""
    return shutil.copytree(bert_folder, tmp_path / "copy")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_arrays(folder: Path, change: Callable[[str, Array], dict[str, Any]]) -> None:
    """Replace each array by those that `change` gives for it."""
    path = folder / "model.safetensors"
    new: Arrays = {}
    for name, array in load_file(path).items():
        new |= change(name, array)
    save_file(new, path)


def logits(folder: Path, head: str = "pretraining") -> list[Array]:
    ids = np.array([[2, 6, 4, 7, 3]])
    output = load_model(folder, "numpy", head=head)(ids)
    return [tg.to_numpy(x) for x in output[:2] if x is not None]


def check_same(folder: Path, bert_folder: Path, head: str = "pretraining") -> None:
    for one, other in zip(logits(folder, head), logits(bert_folder, head), strict=True):
        np.testing.assert_array_equal(one, other)


def test_names_of_older_files_are_understood(folder: Path, bert_folder: Path) -> None:
    def old(name: str, array: Array) -> Arrays:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return {name.replace("LayerNorm.bias", "LayerNorm.beta"): array}

    change_arrays(folder, old)
    change_arrays(folder, lambda name, array: {name: array, "bert.embeddings.position_ids": IDS})
    check_same(folder, bert_folder)


IDS = np.arange(24)[None]


def test_an_encoder_needs_no_prefix(folder: Path, bert_folder: Path) -> None:
    change_arrays(folder, lambda name, array: {name.removeprefix("bert."): array})
    check_same(folder, bert_folder)
    change_arrays(
        folder, lambda name, array: {} if name.startswith(("cls", "pooler")) else {name: array}
    )
    model, _ = open_model(folder, "numpy", head="encoder")
    whole, _ = open_model(bert_folder, "numpy", head="encoder")
    assert not model.config.pooler
    ids = np.array([[2, 6, 4, 3]])
    one, other = tg.to_numpy(model(ids).hidden), tg.to_numpy(whole(ids).hidden)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("head", ["masked", "next"])
def test_one_head_is_enough_for_what_it_does(head: str, folder: Path, bert_folder: Path) -> None:
    mine = {"masked": "cls.predictions", "next": "cls.seq"}[head]
    change_arrays(
        folder,
        lambda name, array: {name: array} if not name.startswith("cls") or mine in name else {},
    )
    check_same(folder, bert_folder, head)
    with pytest.raises(CheckpointError, match="the model has no "):
        load_model(folder, "numpy")


def test_a_decoder_may_be_written_out(folder: Path, bert_folder: Path) -> None:
    def written(name: str, array: Array) -> Arrays:
        if name == WORDS:
            return {name: array, "cls.predictions.decoder.weight": array}
        if name == "cls.predictions.bias":
            return {"cls.predictions.decoder.bias": array}
        return {name: array}

    change_arrays(folder, written)
    check_same(folder, bert_folder)
    change_arrays(
        folder,
        lambda name, array: {name: array + 1 if name.endswith("decoder.weight") else array},
    )
    with pytest.raises(CheckpointError, match='write "tie_word_embeddings": false there'):
        load_model(folder, "numpy")
    change_config(folder, tie_word_embeddings=False)
    assert not load_model(folder, "numpy").config.tied


def test_shards_are_read_together(folder: Path, bert_folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(arrays)
    places: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: arrays[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    check_same(folder, bert_folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    check_refused(folder, "model-00002-of-00002.safetensors: there is no such file")
    for wrong in ("../model.safetensors", "/etc/passwd"):
        index.write_text(json.dumps({"weight_map": {WORDS: wrong}}))
        check_refused(folder, "a file must be in the folder")
    index.write_text(json.dumps({"weight_map": [1]}))
    check_refused(folder, "weight_map must give a file for each array")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_widened(dtype: torch.dtype, folder: Path) -> None:
    path = folder / "model.safetensors"
    halves = {name: torch.from_numpy(x).to(dtype) for name, x in load_file(path).items()}
    save_tensors(halves, path)
    found = load_model(folder, "numpy").state_dict()["bert.layers.0.attention.query.weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, halves[QUERY].float().numpy())


def test_harmless_keys_are_ignored(folder: Path, bert_folder: Path) -> None:
    change_config(folder, gradient_checkpointing=True, anything=[1], transformers_version="9")
    check_same(folder, bert_folder)


def test_a_plain_vocabulary_is_enough(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("".join(f"{x}\n" for x in tokenizer.vocabulary()))
    assert len(open_model(folder, "numpy")[1]) == len(tokenizer)


@both_backends
def test_a_folder_of_our_own_run_is_read_as_well(backend: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["the cat sat"], "word")
    config = BertConfig.teaching(vocab_size=len(tokenizer), hidden_size=8, layers=1, heads=2)
    model = tg.build(BertForPretraining(config), backend, seed=2)
    opt = tg.AdamW(model.parameters())
    extra = {"kind": "bert", "config": config.to_dict()}
    path = tmp_path / "model.safetensors"
    tg.save_checkpoint(path, model=model, optimizer=opt, extra=extra)
    tokenizer.save(tmp_path / "tokenizer.json")
    again, same = open_model(tmp_path, "numpy")
    assert same == tokenizer
    ids = np.array([[2, 5, 3]])
    one, other = (
        tg.to_numpy(x(ids).masked_logits) for x in (again, tg.convert(model, "numpy").eval())
    )
    np.testing.assert_array_equal(one, other)
    tg.save_checkpoint(path, model=model, extra={"kind": "mlp"})
    with pytest.raises(CheckpointError, match="of another model, not of a bert"):
        open_model(tmp_path)
    tg.save_checkpoint(path, model=model, extra={"kind": "bert", "config": {"depth": 3}})
    with pytest.raises(CheckpointError, match="unknown config key 'depth'"):
        open_model(tmp_path)


# What is refused


def check_refused(folder: Path, words: str) -> None:
    """Opening raises a TwingradError of one line that names the folder."""
    with pytest.raises(TwingradError) as caught:
        open_model(folder, "numpy")
    text = str(caught.value)
    assert words in text
    assert str(folder) in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "roberta"}, 'model_type must be "bert"; got "roberta"'),
        ({"position_embedding_type": "relative_key"}, 'position_embedding_type must be "absolute"'),
        ({"is_decoder": True}, "is_decoder must be false; got true"),
        ({"add_cross_attention": True}, "add_cross_attention must be false"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads must be {}"),
        ({"quantization_config": {"bits": 8}}, "quantization_config must be null"),
        ({"hidden_act": "relu"}, "hidden_act must be one of gelu, gelu_new, gelu_pytorch_tanh"),
        ({"hidden_act": ["gelu"]}, "hidden_act must be one of gelu"),
        ({"hidden_size": "16"}, 'hidden_size must be an integer; got "16"'),
        ({"layer_norm_eps": "small"}, 'layer_norm_eps must be a number; got "small"'),
        ({"layer_norm_eps": -1}, "layer_norm_eps must be a number >= 0; got -1"),
        ({"hidden_dropout_prob": [1]}, "hidden_dropout_prob must be a number; got [1]"),
        ({"classifier_dropout": "0.5"}, 'classifier_dropout must be a number; got "0.5"'),
        ({"classifier_dropout": 1}, "classifier_dropout must be a number in [0, 1); got 1"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings must be true or false"),
        ({"num_attention_heads": 3}, "heads must divide hidden_size = 16"),
        ({"hidden_size": 20}, "must be floating of shape"),
        ({"num_hidden_layers": 3}, "layer.2.attention.self.query.weight is missing"),
        ({"num_hidden_layers": 1}, "bert.encoder.layer.1"),
        ({"vocab_size": 20}, "must be floating of shape (20, 16)"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    changes: dict[str, Any], words: str, folder: Path
) -> None:
    change_config(folder, **changes)
    check_refused(folder, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is neither config.json nor a run of `train bert` in it"),
        (b"{", "config.json: it is not JSON, or it is damaged"),
        (b"[]", "config.json: it must be a JSON object; got list"),
        (b"\xff", "config.json: it is not JSON, or it is damaged"),
    ],
)
def test_a_damaged_config_is_refused(content: bytes | None, words: str, folder: Path) -> None:
    path = folder / "config.json"
    path.unlink() if content is None else path.write_bytes(content)
    check_refused(folder, words)


def test_arrays_cut_anywhere_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in [*range(0, 4000, 400), len(whole) - 1]:
        path.write_bytes(whole[:length])
        check_refused(folder, "model.safetensors: it is damaged or no checkpoint")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda array: array[:3], "must be floating of shape (16, 16), as the config says"),
        (lambda array: array[:3], "got float32 of shape (3, 16)"),
        (lambda array: array.astype(np.int8), "got int8 of shape (16, 16)"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(
    change: Callable[[Array], Array], words: str, folder: Path
) -> None:
    change_arrays(folder, lambda name, array: {name: change(array) if name == QUERY else array})
    check_refused(folder, words)


def test_a_missing_array_is_refused(folder: Path) -> None:
    change_arrays(folder, lambda name, array: {} if name == QUERY else {name: array})
    check_refused(folder, f"the array {QUERY} is missing")


def test_a_pickled_file_is_refused_with_what_to_do(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    check_refused(folder, 'convert it once: python -c "from transformers import BertForPreTraining')
    change_config(folder, architectures=["x; print(1)", "BertForMaskedLM"])
    check_refused(folder, "from transformers import BertForMaskedLM as Bert; Bert.from_pretrained(")
    (folder / "pytorch_model.bin").unlink()
    check_refused(folder, "there is no model.safetensors in it")


def test_a_vocabulary_of_another_size_is_refused(folder: Path) -> None:
    other = train_tokenizer(["one more word " + " ".join(f"w{n}" for n in range(30))], "word")
    other.save(folder / "tokenizer.json")
    check_refused(
        folder, f"the model has 16 tokens, so the tokenizer must have as many; it has {len(other)}"
    )
    (folder / "tokenizer.json").unlink()
    check_refused(folder, "there is neither tokenizer.json nor vocab.txt in it")


def test_a_table_that_was_filled_up_is_read(folder: Path) -> None:
    def longer(name: str, array: Array) -> Arrays:
        is_table = name == WORDS or name == "cls.predictions.bias"
        return {name: np.concatenate([array, array[:8]]) if is_table else array}

    change_arrays(folder, longer)
    change_config(folder, vocab_size=24)
    assert open_model(folder, "numpy")[0].config.vocab_size == 24


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path / "nowhere", "there is no such folder; models are not downloaded")


def test_another_head_than_there_is_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="head must be one of encoder, pretraining, masked"):
        load_model(folder, head="question")
    with pytest.raises(CheckpointError, match="the model has no classifier"):
        load_model(folder, head="classification")
    change_arrays(folder, lambda name, array: {name: array, "classifier.weight": array[:2]})
    for changes in (
        {"architectures": ["BertForTokenClassification"]},
        {"architectures": None, "problem_type": "multi_label_classification"},
        {"problem_type": None, "id2label": {"0": "LABEL_0"}},
    ):
        change_config(folder, **changes)
        with pytest.raises(CheckpointError, match="the model has no classifier of texts"):
            load_model(folder, head="classification")
    change_config(folder, id2label={"0": "a", "7": "b"})
    with pytest.raises(CheckpointError, match="id2label must name the labels 0, 1, 2"):
        read_weights(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "pre"}, "only norm = 'post'"),
        ({"closing_norm": True}, "only closing_norm = False"),
        ({"embedding_norm": False}, "only embedding_norm = True"),
        ({"position": "sinusoidal"}, "only position = 'learned'"),
        ({"transform": False}, "only transform = True"),
        ({"pooler": False}, "BertForPreTraining has a pooler"),
        ({"vocab_size": 9}, "vocab_size must be at least that; got 9"),
    ],
)
def test_a_form_that_transformers_does_not_know_is_not_written(
    changes: dict[str, Any], words: str, bert_folder: Path, tmp_path: Path
) -> None:
    weights, tokenizer = open_weights(bert_folder)
    model = tg.build(BertForPretraining(replace(weights.config, **changes)), "numpy")
    with pytest.raises(SettingError) as caught:
        save_model(model, tokenizer, tmp_path / "out")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_pooler_is_not_needed_where_nothing_reads_it(bert_folder: Path, tmp_path: Path) -> None:
    weights, tokenizer = open_weights(bert_folder)
    config = replace(weights.config, pooler=False)
    for number, recipe in enumerate((Bert(config), BertForPretraining(config, ("masked",)))):
        save_model(tg.build(recipe, "numpy"), tokenizer, tmp_path / str(number))
    recipe = BertForClassification(config, 2)
    with pytest.raises(SettingError, match="BertForSequenceClassification has a pooler"):
        save_model(tg.build(recipe, "numpy"), tokenizer, tmp_path / "2", ["a", "b"])


def test_a_folder_is_written_whole_or_not_at_all(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = open_model(bert_folder, "numpy")

    def full(*arguments: Any) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr(huggingface, "write_arrays", full)
    with pytest.raises(OutputError):
        save_model(model, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
