"""Which attacks a protocol trusts, and at which eps a data set is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UsageError, suggest
from .apgd import apgd, apgd_targeted
from .attack import Attack
from .autoattack import autoattack
from .fgsm import fgsm
from .pgd import pgd
from .square import square

PROTOCOLS = ("quick", "standard", "paper")

FGSM_ATTACK = Attack("fgsm", fgsm, "One step along the sign of the gradient: fast, and weak.", weak=True, together=True)
PGD_ATTACK = Attack("pgd", pgd, "Many small steps up the loss from random starts.", together=True)
APGD_ATTACK = Attack("apgd", apgd, "PGD that finds its own step sizes: Auto-PGD.", together=True)
APGD_TARGETED_ATTACK = Attack(
    "apgd_targeted", apgd_targeted, "Auto-PGD towards each of the likeliest wrong classes.", together=True
)
SQUARE_ATTACK = Attack(
    "square", square, "Random search with forward passes only: not fooled by hidden gradients.", together=True
)
AUTOATTACK = Attack(
    "autoattack", autoattack, "Auto-PGD, targeted Auto-PGD and Square on what is left: no FAB.", together=True
)
STRONG = (APGD_ATTACK, APGD_TARGETED_ATTACK, SQUARE_ATTACK, AUTOATTACK)


def protocol_attacks(protocol: str) -> tuple[Attack, ...]:
    """Return the attacks whose per-sample worst case is the robust accuracy; FGSM is run beside them always.

    "pgd" climbs the scale-free form of cross-entropy, "pgd_margin" the margin: where they differ much, one of the two
    losses is blind on that model. "paper" adds Auto-PGD, its targeted form, and Square, which needs no gradient. A
    UsageError for an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.{suggest(protocol, PROTOCOLS)}"
        )
    settings: dict[str, Any] = (
        {"steps": 20} if protocol == "quick" else {"steps": 40, "restarts": 3, "fgsm_start": True}
    )
    strong = (APGD_ATTACK, APGD_TARGETED_ATTACK, SQUARE_ATTACK) if protocol == "paper" else ()
    return (
        PGD_ATTACK.with_settings(**settings, loss="scale_free"),
        PGD_ATTACK.with_settings("pgd_margin", **settings, loss="margin"),
        *strong,
    )


# Per kind of image: the eps values after 0, and the headline.
_GRIDS: dict[str, dict[str, tuple[tuple[float, ...], float]]] = {
    "linf": {
        "digits": (tuple(k / 16 for k in range(1, 6)), 2 / 16),
        "grey": ((0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3), 0.1),
        "colour": (tuple(k / 255 for k in (1, 2, 4, 8, 12, 16)), 8 / 255),
    },
    "l2": {
        "digits": ((0.25, 0.5, 0.75, 1.0, 1.25), 0.5),
        "grey": ((0.5, 1.0, 1.5, 2.0, 3.0), 1.0),
        "colour": ((0.25, 0.5, 1.0), 0.5),
    },
}


def eps_grid(name: str, shape: Sequence[int], norm: str = "linf") -> tuple[tuple[float, ...], float]:
    """Return the eps grid of a data set, from 0 up in pixel units, and its headline eps.

    `digits` and other images of at most 16 x 16 grey pixels go in steps of one of 16 grey levels; larger grey images
    and anything that is no image like MNIST; colour images like CIFAR.

    Args:
        name: of the data set.
        shape: of one image, (C, H, W).
        norm: "linf" or "l2".
    """
    if norm not in _GRIDS:
        raise UsageError(f"norm must be one of {', '.join(_GRIDS)}, got {norm!r}")
    image = len(shape) == 3
    if image and shape[0] >= 3:
        kind = "colour"
    elif name == "digits" or (image and max(shape[1:]) <= 16):
        kind = "digits"
    else:
        kind = "grey"
    grid, headline = _GRIDS[norm][kind]
    return (0.0, *grid), headline
