"""Whether attacks that use no gradient find what the gradients hide."""

from __future__ import annotations

import torch
from torch import Tensor

from ...attacks.named import CORNER_NOISE, UNIFORM_NOISE
from ...attacks.protocols import SQUARE_ATTACK
from .evidence import Asking, Evidence, Question
from .flag import flagged, graded, standard_error

POINTS = 100  # at most so many standing points are searched
QUERIES = 100
SOME = 0.01  # of the points looked at: amber
MANY = 0.05  # of them: red
ERRORS = 2.0  # standard errors from none that red takes, too
DRAWS = 10  # of each kind of noise


def black_box_beats_white_box(evidence: Evidence) -> Asking:
    """Try Square, and transfer from `subject.surrogate`, on points that no gradient attack broke at the headline eps.

    Value: the share of all points that break, estimated from up to `POINTS` of those that stand. Amber over `SOME`:
    some starting point finds what a short PGD has missed, as on 2 % of the points of an honest digits network. Red
    over `MANY` and `ERRORS` standard errors: where gradients are masked, black boxes find much more than that.

    Carlini et al, On evaluating adversarial robustness, 2019; Andriushchenko et al, Square Attack, 2020; Papernot et
    al, Practical black-box attacks against machine learning, 2017. Thresholds: ours.
    """
    if not evidence.judges:
        return None
    at = searched(evidence)
    found = {"random search": (yield Question(SQUARE_ATTACK.with_settings(queries=QUERIES), at))}
    if evidence.subject.sibling is not None:
        found["transfer"] = evidence.transferred(evidence.subject.sibling, at)
    broken = len(torch.cat(list(found.values())).unique())
    n = len(evidence.y)  # of which those that stand and are not searched say nothing
    looked_at = round(n * len(at) / len(evidence.standing)) if len(at) else n
    value = broken / looked_at
    level = graded(value, SOME, max(MANY, ERRORS * standard_error(value, looked_at)))
    by = " and ".join(f"{name} {len(hit)}" for name, hit in found.items())
    says = f"without gradients {broken} of {len(at)} points break that gradient attacks leave standing ({by})"
    caution = "the gradients are masked" if level == "red" else "the gradient attacks did not find everything"
    return flagged("black_box_beats_white_box", level, value, says, caution)


def searched(evidence: Evidence) -> Tensor:
    """Return the positions of the standing points that black boxes are tried on."""
    return evidence.standing[:POINTS]


def random_noise_wins(evidence: Evidence) -> Asking:
    """Draw `DRAWS` uniform and `DRAWS` corner images of the threat model around every point that nothing broke.

    Value: how many points they break that no gradient attack did. Red from one: finding them took no search at all.

    Carlini et al, On evaluating adversarial robustness, 2019 (random noise is the weakest attack).
    """
    if not evidence.judges:
        return None
    at = evidence.standing
    corners = yield Question(CORNER_NOISE.with_settings(draws=DRAWS), at)
    inside = yield Question(UNIFORM_NOISE.with_settings(draws=DRAWS), at)
    value = len(torch.cat((corners, inside)).unique())
    says = f"random noise breaks {value} of {len(at)} points that no gradient attack broke"
    return flagged("random_noise_wins", "red" if value else "green", float(value), says, "the attacks are failing")
