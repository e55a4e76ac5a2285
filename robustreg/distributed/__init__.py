"""One run on several processes, each of which learns from its share of every batch.

All processes hold the same weights and make the same updates: after the backward pass the gradients are summed over
them, each weighted by the share of the batch that it comes from. So a term that is a mean over images is that of the
whole batch, and a penalty on the weights, which every process computes, counts once.

This is a flat all-reduce after the backward pass and not `DistributedDataParallel`, which sums while the backward pass
is still under way but sees only networks that are called through its wrapper: hooks that call the network at other
weights (`functional_call`), several times a step or inside `torch.func.grad` would go past it, each in another way.
Here a hook is the same code alone and together, and reads, in `weights`, `gradient` and `after_step`, what all
processes have agreed on. What that gives up is the time in which the two could overlap: docs/cluster.md has it.

Noise is drawn by every process with a key of its own, so several processes are another draw of what one would train;
without noise they end at the weights of one, but for rounding. What looks at a whole batch (the partners of mixup, the
statistics of BatchNorm) looks at the share of its process; BatchNorm's running statistics are those of the first.
"""

from .torchrun import joined, started
from .world import ALONE, PeerLostError, World

__all__ = ["ALONE", "PeerLostError", "World", "joined", "started"]
