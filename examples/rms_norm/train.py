"""Train a small network with RMSNorm on the backend that is named: `python train.py torch`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from twingrad_rms_norm import RMSNorm

import twingrad as tg


class Net(tg.Module):
    """Two linear layers, the first one's output normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.norm, self.gelu = tg.Linear(2, 16), RMSNorm(16), tg.GELU()
        self.linear2 = tg.Linear(16, 1)

    def forward(self, x: Any) -> Any:
        return self.linear2(self.gelu(self.norm(self.linear1(x))))


def main(backend: str) -> None:
    """Print the loss before and after 200 steps."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 2))
    target = (x[:, :1] * x[:, 1:] > 0).astype(float)
    model = tg.build(Net(), backend=backend, seed=0, dtype="float64")
    loss_fn, optimizer = tg.BCEWithLogitsLoss(), tg.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(200):
        loss = loss_fn(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"{backend}: loss {losses[0]:.12f} at first, {losses[-1]:.12f} at last")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "numpy")
