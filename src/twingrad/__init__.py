"""Twingrad: every layer twice, once by hand in NumPy and once in PyTorch, with laws for both.

The folders beside this file are links to those of the same name at the top of the repository.
"""

import os

# OpenBLAS reads this as NumPy is imported: for how many cycles, as a power of 2, its threads wait
# for another matrix product before they sleep. Its own 26 are tens of milliseconds, in which they
# take a core from the threads of the other kernels.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")

from twingrad.core.backend import Backend, LayerBackend, backends, load_backend, no_grad
from twingrad.core.build import build, convert, tensor
from twingrad.core.calls import (
    concat,
    forward,
    layer,
    layers,
    operations,
    optimizer,
    optimizer_step,
    optimizers,
    vjp,
)
from twingrad.core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from twingrad.core.data import ArrayDataset, DataLoader
from twingrad.core.module import (
    GELU,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    ModuleList,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from twingrad.core.multi_head_attention import MultiHeadAttention
from twingrad.core.optimizer import SGD, AdamW, clip_grad_norm_
from twingrad.core.spec import LayerSpec, OptimizerSpec
from twingrad.core.state import to_numpy

__version__ = "0.1.0"

__all__ = [
    "GELU",
    "SGD",
    "AdamW",
    "ArrayDataset",
    "BCEWithLogitsLoss",
    "Backend",
    "Checkpoint",
    "CrossEntropyLoss",
    "DataLoader",
    "Dropout",
    "Embedding",
    "LayerBackend",
    "LayerNorm",
    "LayerSpec",
    "Linear",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "OptimizerSpec",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "backends",
    "build",
    "clip_grad_norm_",
    "concat",
    "convert",
    "forward",
    "layer",
    "layers",
    "load_backend",
    "load_checkpoint",
    "no_grad",
    "operations",
    "optimizer",
    "optimizer_step",
    "optimizers",
    "save_checkpoint",
    "tensor",
    "to_numpy",
    "vjp",
]
