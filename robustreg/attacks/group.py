"""One model or K with all their points, and what an attack breaks of them, verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import PluginError, RobustregError, printable
from ..threat import ThreatModel
from .attack import Attack
from .gradients import outputs
from .passes import Passes, counting, tallied
from .points import Points
from .siblings import Siblings

MERGED = 16  # batches of points that an attack works on together, so that the few left of each become one batch


@dataclass(frozen=True, eq=False)
class Group:
    """K models, and the points of all of them one after the other.

    Args:
        siblings: the models.
        points: of all of them; their samples are numbered from 0 for each model.
        seeds: of each model.
    """

    siblings: Siblings
    points: Points
    seeds: Sequence[int]

    @staticmethod
    def of(models: Sequence[nn.Module], x: Sequence[Tensor], y: Sequence[Tensor], seeds: Sequence[int]) -> Group:
        """Return the group of these models, in evaluation mode; each has its own images, labels and seed."""
        images, labels = torch.cat([part.detach() for part in x]), torch.cat(list(y))
        device, sizes = images.device, [len(part) for part in x]
        numbers = torch.cat([torch.arange(size, device=device) for size in sizes])
        seed: int | Tensor = seeds[0]
        if len(models) > 1:
            seed = torch.tensor(list(seeds), device=device).repeat_interleave(torch.tensor(sizes, device=device))
        siblings = Siblings(models, images, sizes)
        return Group(siblings, Points(siblings, images, labels, seed, numbers), seeds)

    def hits(
        self, todo: Tensor, attack: Attack, threat: ThreatModel, passes: Sequence[Passes], batch_size: int
    ) -> Tensor:
        """Return the positions in `todo`, ascending, that the attack breaks, and count the passes of each model.

        A batch is `batch_size` points of each model.

        Raises:
            PluginError: for an attack that fails, returns anything but images, or leaves its threat model.
        """
        hits = [todo[:0]]
        if attack.together:
            batch_size *= len(passes)
            with tallied(self.siblings, passes):
                for at in todo.split(MERGED * batch_size) if len(todo) else ():
                    some = self.points[at]
                    moved = _moved(attack, some, threat, batch_size)
                    said = [outputs(*part) for part in some.batches(moved, batch_size)]
                    hits.append(at[torch.cat(said).argmax(-1) != some.y])
            return torch.cat(hits)
        for number, model in enumerate(self.siblings.models):
            own = todo[self.siblings.owner[todo] == number]
            with counting(model, passes[number]):
                for at in own.split(batch_size) if len(own) else ():
                    some = self.points.of(model, at, self.seeds[number])
                    moved = _moved(attack, some, threat, None)
                    hits.append(at[outputs(model, moved).argmax(-1) != some.y])
        return torch.cat(hits)


def _moved(attack: Attack, points: Points, threat: ThreatModel, batch_size: int | None) -> Tensor:
    known = {} if batch_size is None else {"batch_size": batch_size}
    try:
        moved = attack(
            points.model,
            points.x,
            points.y,
            eps=threat.eps,
            norm=threat.norm,
            seed=points.seed,
            samples=points.samples,
            **known,
        )
    except RobustregError:
        raise
    except (Exception, SystemExit) as error:
        what = printable(f"{type(error).__name__}: {error}")
        raise PluginError(f"attack {attack.name!r} failed: {what}") from error
    if not isinstance(moved, Tensor) or moved.shape != points.x.shape:
        got = f"images of shape {tuple(moved.shape)}" if isinstance(moved, Tensor) else type(moved).__name__
        raise PluginError(
            f"attack {attack.name!r} returned {got}; it must return one image for each it was given, a tensor of shape"
            f" {tuple(points.x.shape)}"
        )
    if not threat.contains(moved, points.x).all():
        raise PluginError(
            f"attack {attack.name!r} returned images outside its threat model ({threat.norm}, eps {threat.eps:g}, "
            f"box [{threat.low:g}, {threat.high:g}]); it must return what threat.project() allows"
        )
    return moved
