"""Every optimizer: a page each, which registers it as it is imported."""

from twingrad.core.optimizers.adamw import AdamW
from twingrad.core.optimizers.optimizer import Optimizer
from twingrad.core.optimizers.sgd import SGD

__all__ = ["SGD", "AdamW", "Optimizer"]
