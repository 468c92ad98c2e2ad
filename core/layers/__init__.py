"""Every layer, in the order of all tables: a page each, which registers it as it is imported."""

# The order is that of all tables; a page without a module is imported for its registration.
# ruff: noqa: F401, I001
from twingrad.core.layers.linear import Linear
from twingrad.core.layers.tanh import Tanh
from twingrad.core.layers.sigmoid import Sigmoid
from twingrad.core.layers.relu import ReLU
from twingrad.core.layers.gelu import GELU
import twingrad.core.layers.log_softmax
from twingrad.core.layers.softmax import Softmax
from twingrad.core.layers.layer_norm import LayerNorm
from twingrad.core.layers.dropout import Dropout
import twingrad.core.layers.attention
from twingrad.core.layers.embedding import Embedding
from twingrad.core.layers.bce_with_logits import BCEWithLogitsLoss
from twingrad.core.layers.cross_entropy import CrossEntropyLoss

__all__ = [
    "GELU",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Linear",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
