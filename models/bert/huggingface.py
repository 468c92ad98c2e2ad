"""Hugging Face folders: config.json, model.safetensors and tokenizer.json, read and written.

The names are those of `transformers`' BertForPreTraining and its relatives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twingrad.core.checkpoint import read_arrays, write_arrays
from twingrad.core.errors import CheckpointError, SettingError
from twingrad.core.files import whole_file
from twingrad.core.module import Module
from twingrad.core.spec import Arrays
from twingrad.core.state import to_numpy
from twingrad.models.bert.config import BertConfig
from twingrad.models.bert.model import Bert, BertForClassification, BertForPretraining
from twingrad.models.bert.tokenizer import CONFIG_NAME as TOKENIZER_CONFIG
from twingrad.models.bert.tokenizer import JSON_NAME, Tokenizer
from twingrad.models.bert.weights import Weights

CONFIG, ARRAYS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"

# Our modules and theirs; # is the number of a block. Weights and biases have the same names.
MODULES = {
    "bert.embeddings.word": "bert.embeddings.word_embeddings",
    "bert.embeddings.segment": "bert.embeddings.token_type_embeddings",
    "bert.embeddings.norm": "bert.embeddings.LayerNorm",
    "bert.layers.#.attention.query": "bert.encoder.layer.#.attention.self.query",
    "bert.layers.#.attention.key": "bert.encoder.layer.#.attention.self.key",
    "bert.layers.#.attention.value": "bert.encoder.layer.#.attention.self.value",
    "bert.layers.#.attention.output": "bert.encoder.layer.#.attention.output.dense",
    "bert.layers.#.attention_norm": "bert.encoder.layer.#.attention.output.LayerNorm",
    "bert.layers.#.feed_forward.intermediate": "bert.encoder.layer.#.intermediate.dense",
    "bert.layers.#.feed_forward.output": "bert.encoder.layer.#.output.dense",
    "bert.layers.#.output_norm": "bert.encoder.layer.#.output.LayerNorm",
    "bert.pooler": "bert.pooler.dense",
    "masked.transform": "cls.predictions.transform.dense",
    "masked.norm": "cls.predictions.transform.LayerNorm",
    "masked.decoder": "cls.predictions.decoder",
    "next": "cls.seq_relationship",
    "classifier": "classifier",
}
EMBEDDINGS, DECODER = MODULES["bert.embeddings.word"], MODULES["masked.decoder"]
BIAS = "cls.predictions.bias"
# Parameters whose own names differ as well.
PARAMETERS = {
    "bert.embeddings.position": "bert.embeddings.position_embeddings.weight",
    "masked.decoder.bias": BIAS,
}
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")  # 0, 1, 2, ... and zeros

# Our settings under their keys; the defaults are the same.
KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "segments",
    "pad_token_id": "pad_id",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "classifier_dropout",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "tie_word_embeddings": "tied",
}
TYPES = {int: "an integer", float: "a number", bool: "true or false"}
GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
# Keys with which the model would be a different one. Keys in neither table change nothing here.
REQUIRED = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
}
# Choices that their config has no key for, each with the only value that their model supports.
ONLY = {
    "norm": "post",
    "closing_norm": False,
    "embedding_norm": True,
    "position": "learned",
    "transform": True,
}
ENCODER, CLASSIFIER = "BertModel", "BertForSequenceClassification"
ARCHITECTURES = {
    "BertForPreTraining": ("masked", "next"),
    "BertForMaskedLM": ("masked",),
    "BertForNextSentencePrediction": ("next",),
    ENCODER: (),
    CLASSIFIER: ("classification",),
}


def load_model(
    folder: Path | str,
    backend: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    head: str = "pretraining",
) -> Any:
    """Return the model in a Hugging Face folder: see Weights.model for the heads.

    Raises CheckpointError for a folder that is damaged or holds no BERT.
    """
    return read_weights(Path(folder)).model(head, backend, dtype, device)


def save_model(
    model: Any, tokenizer: Tokenizer, folder: Path | str, labels: Sequence[str] = ()
) -> None:
    """Write a model and its tokenizer as a folder that `transformers` reads, or write nothing.

    `labels` are the classes of a BertForClassification. Raises SettingError for a form that
    `transformers` does not know, OutputError if it cannot be written.
    """
    folder, recipe = Path(folder), model.origin.recipe
    if isinstance(recipe, BertForClassification) and len(labels) != recipe.classes:
        raise SettingError(f"must name {recipe.classes} classes; got {len(labels)}", "labels")
    if len(tokenizer) > recipe.config.vocab_size:
        raise SettingError(
            f"the tokenizer has {len(tokenizer)} tokens, so vocab_size must be at least that; "
            f"got {recipe.config.vocab_size}"
        )
    files = {
        CONFIG: config_of(recipe, labels),
        JSON_NAME: _tokenizer_rules(tokenizer),
        TOKENIZER_CONFIG: _tokenizer_config(tokenizer, recipe.config),
    }
    is_new = not folder.exists()
    try:
        with ExitStack() as stack:
            # Opened first, so it appears last: without a config it is not a Hugging Face folder.
            for name, content in files.items():
                file = stack.enter_context(whole_file(folder / name))
                file.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
            write_arrays(folder / ARRAYS, _their_arrays(model), {"format": "pt"})
    finally:
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def config_of(recipe: Module, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config.json of a BERT's recipe.

    Raises SettingError for a form that `transformers` does not know.
    """
    assert isinstance(recipe, Bert | BertForPretraining | BertForClassification)
    config = recipe.config
    check_form(config)
    heads = recipe.heads if isinstance(recipe, BertForPretraining) else ()
    heads = ("classification",) if isinstance(recipe, BertForClassification) else heads
    architecture = {heads: name for name, heads in ARCHITECTURES.items()}[heads]
    if not config.pooler and heads not in ((), ("masked",)):
        raise SettingError(
            f"transformers' {architecture} has a pooler, so a model with pooler = False cannot be "
            f"saved for it"
        )
    values: dict[str, Any] = {"architectures": [architecture], "model_type": "bert"}
    values |= {key: getattr(config, name) for key, name in KEYS.items()}
    values["hidden_act"] = {gelu: act for act, gelu in reversed(GELUS.items())}[config.gelu]
    if labels:
        values["id2label"] = {str(id): label for id, label in enumerate(labels)}
        values["label2id"] = {label: id for id, label in enumerate(labels)}
    return values


def check_form(config: BertConfig) -> None:
    """Raise SettingError for a form that `transformers` does not know."""
    for name, only in ONLY.items():
        if getattr(config, name) != only:
            raise SettingError(
                f"transformers' BERT knows only {name} = {only!r}, so a model with {name} = "
                f"{getattr(config, name)!r} cannot be saved for it"
            )


def read_weights(folder: Path) -> Weights:
    """Return the weights in a Hugging Face folder, and the form that its config describes.

    Heads and the pooler may be missing. Raises CheckpointError for a folder that is damaged or
    holds no BERT.
    """
    values = _read_json(folder / CONFIG)
    config = _our_config(values, folder / CONFIG)
    arrays = _normalised(_read_all_arrays(folder, values))
    if f"{DECODER}.bias" in arrays and not (config.tied and BIAS in arrays):
        arrays[BIAS] = arrays[f"{DECODER}.bias"]  # transformers adds this one of the two
    decoder, words = f"{DECODER}.weight", f"{EMBEDDINGS}.weight"
    is_pair = decoder in arrays and words in arrays
    if config.tied and is_pair and not np.array_equal(arrays[decoder], arrays[words]):
        raise CheckpointError(
            f"{folder}: {decoder} differs from {words}, which {CONFIG} says is "
            f'the same; write "tie_word_embeddings": false there'
        )
    if "bert.pooler.dense.weight" not in arrays:
        config = replace(config, pooler=False)
    labels = _labels(values, folder / CONFIG)
    if not labels:
        arrays.pop("classifier.weight", None)  # it is for tokens, multiple choice or regression
    return Weights(folder, config, arrays, labels, huggingface_name)


def huggingface_name(name: str) -> str:
    """Return what `transformers` calls the parameter that we call `name`."""
    if name in PARAMETERS:
        return PARAMETERS[name]
    module, kind = name.rsplit(".", 1)
    number = re.search(r"\d+", module)
    theirs = MODULES[re.sub(r"\d+", "#", module)]
    return f"{theirs.replace('#', number[0]) if number else theirs}.{kind}"


def _our_config(values: Mapping[str, Any], path: Path) -> BertConfig:
    for key, required in REQUIRED.items():
        if values.get(key, required) != required:
            raise CheckpointError(
                f"{path}: {key} must be {json.dumps(required)}; got {json.dumps(values[key])}"
            )
    act = values.get("hidden_act", "gelu")
    if not isinstance(act, str) or act not in GELUS:
        raise CheckpointError(f"{path}: hidden_act must be one of {', '.join(GELUS)}; got {act!r}")
    # A pad_token_id of null is allowed; it matters only when new weights are drawn.
    settings = {name: values[key] for key, name in KEYS.items() if values.get(key) is not None}
    for key, name in KEYS.items():
        default = getattr(BertConfig, name)
        kind = float if default is None else type(default)
        if not isinstance(settings.get(name, kind()), int if kind is int else (kind, int)):
            raise CheckpointError(
                f"{path}: {key} must be {TYPES[kind]}; got {json.dumps(values[key])}"
            )
    try:
        return BertConfig(**settings, gelu=GELUS[act])
    except SettingError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _labels(values: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Return the classes of a sequence classifier; none for any other model."""
    known, problem = _architectures(values), values.get("problem_type")
    if (known and CLASSIFIER not in known) or problem not in (None, "single_label_classification"):
        return ()
    labels = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        names = tuple(str(labels[str(id)]) for id in range(len(labels)))
        return names if len(names) > 1 else ()  # one output is a number, not a class
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{path}: id2label must name the labels 0, 1, 2, ...; got {labels!r}"
        ) from None


def _architectures(values: Mapping[str, Any]) -> list[str]:
    names = values.get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: it cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # of JSON, or of UTF-8
        raise CheckpointError(f"{path}: it is not JSON, or it is damaged: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: it must be a JSON object; got {type(values).__name__}")
    return values


def _read_all_arrays(folder: Path, config: Mapping[str, Any]) -> Arrays:
    if (folder / ARRAYS).exists():
        return read_arrays(folder / ARRAYS)[0]
    if (folder / INDEX).exists():
        places = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
            raise CheckpointError(f"{folder / INDEX}: weight_map must give a file for each array")
        arrays: Arrays = {}
        for name in sorted(set(places.values())):
            if Path(name).name != name:
                raise CheckpointError(f"{folder / INDEX}: a file must be in the folder; got {name}")
            arrays |= read_arrays(folder / name)[0]
        return arrays
    if (folder / PICKLED).exists():
        # Users may run this advice, so it must hold no text that comes from the file.
        known = [name for name in _architectures(config) if name in ARCHITECTURES]
        architecture = known[0] if known else "BertForPreTraining"
        raise CheckpointError(
            f"{folder / PICKLED}: it is pickled, and reading it could run arbitrary code; if you "
            f'trust it, convert it once: python -c "from transformers import {architecture} as '
            f"Bert; Bert.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    raise CheckpointError(f"{folder}: there is no {ARRAYS} in it")


def _normalised(arrays: Arrays) -> Arrays:
    """Return arrays under today's names: older files use others, and encoders have no prefix."""
    result: Arrays = {}
    for name, array in arrays.items():
        if name.endswith(BUFFERS):
            continue
        if name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = f"bert.{name}"
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        result[name.replace("LayerNorm.beta", "LayerNorm.bias")] = array
    return result


def _their_arrays(model: Any) -> Arrays:
    """Return a model's parameters under their names."""
    recipe = model.origin.recipe
    prefix = "bert." if isinstance(recipe, Bert) else ""
    arrays = {
        huggingface_name(prefix + name).removeprefix(prefix): to_numpy(parameter)
        for name, parameter in model.named_parameters()  # a tied decoder is not named twice
    }
    if f"{DECODER}.weight" in arrays:
        arrays[f"{DECODER}.bias"] = arrays[BIAS]
    return arrays


def _tokenizer_rules(tokenizer: Tokenizer) -> dict[str, Any]:
    rules: dict[str, Any] = json.loads(tokenizer.to_json())
    if rules["post_processor"] is None:
        # Here `pair` puts [CLS] and [SEP] around a text; in transformers this rule does.
        rules["post_processor"] = {
            "type": "BertProcessing",
            "cls": [tokenizer.token(tokenizer.cls_id), tokenizer.cls_id],
            "sep": [tokenizer.token(tokenizer.sep_id), tokenizer.sep_id],
        }
    return rules


def _tokenizer_config(tokenizer: Tokenizer, config: BertConfig) -> dict[str, Any]:
    names = {
        f"{role}_token": tokenizer.token(getattr(tokenizer, f"{role}_id"))
        for role in ("pad", "unk", "cls", "sep", "mask")
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # which takes tokenizer.json as it is
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": config.max_positions,
        "do_lower_case": tokenizer.lowercase,
        **names,
    }
