"""Square: a random search that asks for no gradient, and so is not fooled by a model that hides it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..noise import Rng, fold
from ..threat import ThreatModel
from .batching import BATCH, attacked
from .gradients import outputs
from .losses import margin
from .points import Points
from .pursuit import Pursuit, at_least
from .siblings import rows
from .windows import L2Moves, LinfMoves, Plane

_BLOCK = 50  # queries whose random numbers are made together
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


def square(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    queries: int = 1000,
    p_init: float = 0.8,
    norm: str = "linf",
    seed: int | Tensor = 0,
    samples: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Return for each image one that the model gets wrong, if any was found, else the one of highest margin loss.

    Changes a window at a random place of each image, and keeps the change where it raises the margin loss. Only forward
    passes: at most `queries` and one of the clean image. A broken image is not worked on further; images the model
    already gets wrong are returned unchanged. Places and signs are drawn for each image by itself, so the result of an
    image does not depend on its batch.

    Works on samples of any shape: the last two dimensions are the plane that windows are cut from, the ones before are
    channels. A flat sample is a plane 1 high, its windows are runs of neighbouring features. Where a plane is too
    narrow for a square, the window is a rectangle of the same area.

    Args:
        model: from `(n, *shape)` floats in [0, 1] to `(n, classes)` logits; left as it was.
        x: clean images `(n, *shape)`, floats in [0, 1]; the result has their type.
        y: int64 labels `(n,)`.
        eps: budget in pixel units.
        queries: images the model is asked about for each clean one; the window shrinks on a schedule scaled to it.
        p_init: share of the plane a window covers at first, in (0, 1].
        norm: "linf" or "l2".
        seed: decides places and signs, together with the sample.
        samples: a number for each sample, int64 `(n,)`, that keys its places and signs; default 0, 1, 2 ...
        batch_size: images at once.

    Raises:
        UsageError: for images outside [0, 1], labels that do not fit, or a bad setting.

    Andriushchenko et al, Square Attack: a query-efficient black-box adversarial attack via random search, 2020.
    """
    threat = ThreatModel(norm, eps)
    if queries < 1:
        raise UsageError(f"queries must be at least 1, got {queries}")
    if not 0 < p_init <= 1:
        raise UsageError(f"p_init must lie in (0, 1], got {p_init}")

    def attack(points: Points) -> Tensor:
        pursuit = Pursuit(points.x, broken=points.logits(batch_size).argmax(-1) != points.y)
        for at in pursuit.batches(batch_size):
            search(points[at], at, pursuit, threat, queries, p_init)
        return pursuit.best

    return attacked(model, x, y, threat, attack, seed=seed, samples=samples, batch_size=batch_size)


def search(
    points: Points,
    at: Tensor,
    pursuit: Pursuit,
    threat: ThreatModel,
    queries: int,
    p_init: float,
) -> None:
    """Ask `queries` times about each of the points, `at` in the pursuit, and record what is found."""
    model, x, y, shape = points.model, points.x, points.y, points.x.shape[1:]
    keys = torch.as_tensor(fold(points.rng("square").key, points.samples))
    plane = Plane(shape)
    moves = (LinfMoves if threat.norm == "linf" else L2Moves)(threat, plane, x.reshape(len(x), plane.channels, -1))

    def signs_to_start(key: Tensor) -> Tensor:
        return Rng(key, x.device).bernoulli(0.5, *moves.signs_to_start())

    def draws(key: Tensor) -> tuple[Tensor, Tensor]:
        rng = Rng(key, x.device)
        return rng.uniform(_BLOCK, moves.uniforms), rng.bernoulli(0.5, _BLOCK, plane.channels + 1)

    best, loss = x, torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
    for query in range(queries):
        if query == 0:
            image = moves.start(torch.func.vmap(signs_to_start)(keys))
        else:
            if (query - 1) % _BLOCK == 0:
                block = torch.as_tensor(fold(keys, 1 + (query - 1) // _BLOCK))
                where, signs = torch.func.vmap(draws)(block)
            now = (query - 1) % _BLOCK
            image = moves.propose(best, share_at(query, queries, p_init), where[:, now], signs[:, now])
        logits = outputs(model, image.reshape(-1, *shape))
        losses, broken = margin(logits, y), logits.argmax(-1) != y
        better = (at_least(losses) > loss).nonzero().squeeze(1)
        if query == 0:
            best, loss = image, losses
        else:
            best[better], loss[better] = image[better], losses[better]
        if broken.any():
            keep = pursuit.record(at, image.reshape(-1, *shape), losses, broken)
            at, y, keys, best, loss = (tensor[keep] for tensor in (at, y, keys, best, loss))
            moves.keep(keep)
            model = rows(model, keep)
            if query:
                where, signs = where[keep], signs[keep]
            if not len(at):
                break
    pursuit.record(at, best.reshape(-1, *shape), loss, torch.zeros_like(at, dtype=torch.bool))


def share_at(query: int, queries: int, p_init: float) -> float:
    """Return the share of the plane that a window covers at a query: halved nine times, early on the most often."""
    progress = query / queries * 10_000
    return p_init / math.prod(2 for after in _HALVINGS if progress > after)
