"""What a network computes while it learns, kept every now and then."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..inference import untraced
from ..session import Session
from .result import Snapshot


class Recorder:
    """Keeps the outputs of a regression network on a grid, before training and after every so many epochs.

    To be passed to `train` as `on_epoch`; what it kept is in `snapshots`. The network is left as it was.

    Args:
        grid: inputs `(n, 1)`.
        every: epochs between two snapshots.
        model: the network before training, for a snapshot at epoch 0.
    """

    def __init__(self, grid: Tensor, *, every: int, model: nn.Module) -> None:
        self.grid, self.every = grid, every
        self.snapshots: list[Snapshot] = []
        self._keep(0, model)

    def __call__(self, session: Session) -> None:
        """Look at the network after an epoch."""
        if session.epoch % self.every == 0:
            self._keep(session.epoch, session.objective.network)

    def _keep(self, epoch: int, network: nn.Module) -> None:
        with untraced(network), torch.inference_mode():
            outputs = network(self.grid).flatten().tolist()
        self.snapshots.append(Snapshot(epoch, tuple(outputs)))
