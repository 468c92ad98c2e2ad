"""Twingrad: every layer twice, once by hand in NumPy and once in PyTorch, with laws for both.

The folders beside this file are links to those of the same name at the top of the repository.
"""

import os

from twingrad import links

if (_reason := links.broken()) is not None:
    raise ImportError(_reason)

# OpenBLAS reads this as NumPy is imported: for how many cycles, as a power of 2, its threads wait
# for another matrix product before they sleep. Its own 26 are tens of milliseconds, in which they
# take a core from the threads of the other kernels.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")

import twingrad.backends  # noqa: F401 - before the function of the same name, which is to stay
from twingrad.core import errors
from twingrad.core import layers as _layers
from twingrad.core.arguments import check_setting
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
from twingrad.core.catalogue import register_layer, register_optimizer
from twingrad.core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from twingrad.core.contract import Backend, LayerBackend
from twingrad.core.data import ArrayDataset, DataLoader
from twingrad.core.layers import *  # noqa: F403 - the modules of all layers, by their own list
from twingrad.core.module import (
    Module,
    ModuleList,
    Parameter,
    Sequential,
    apply,
    draw_keep,
    length_of,
    recompute,
)
from twingrad.core.multi_head_attention import MultiHeadAttention
from twingrad.core.optimizers import SGD, AdamW, Optimizer
from twingrad.core.optimizers.optimizer import clip_grad_norm_
from twingrad.core.random import Constant, Draws, Normal, Uniform, fan_in_uniform, xavier_uniform
from twingrad.core.registry import backends, load_backend, no_grad
from twingrad.core.spec import Choice, Flag, Integer, LayerSpec, Number, OptimizerSpec, Pair
from twingrad.core.state import to_numpy

__version__ = "0.1.0"

# Python finds `import twingrad.backends.numpy_backend as page` by this name, once the function
# stands where it looks for the package.
backends.__name__ = "twingrad.backends"

__all__ = [
    "SGD",
    "AdamW",
    "ArrayDataset",
    "Backend",
    "Checkpoint",
    "Choice",
    "Constant",
    "DataLoader",
    "Draws",
    "Flag",
    "Integer",
    "LayerBackend",
    "LayerSpec",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "Normal",
    "Number",
    "Optimizer",
    "OptimizerSpec",
    "Pair",
    "Parameter",
    "Sequential",
    "Uniform",
    "apply",
    "backends",
    "build",
    "check_setting",
    "clip_grad_norm_",
    "concat",
    "convert",
    "draw_keep",
    "errors",
    "fan_in_uniform",
    "forward",
    "layer",
    "layers",
    "length_of",
    "load_backend",
    "load_checkpoint",
    "no_grad",
    "operations",
    "optimizer",
    "optimizer_step",
    "optimizers",
    "recompute",
    "register_layer",
    "register_optimizer",
    "save_checkpoint",
    "tensor",
    "to_numpy",
    "vjp",
    "xavier_uniform",
    *_layers.__all__,
]
