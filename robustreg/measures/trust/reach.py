"""Whether an attack that may do anything wins."""

from __future__ import annotations

from ...statistics import wilson_interval
from .evidence import Asking, Evidence, Question
from .flag import flagged

HALF = 0.5  # in linf: every image may become grey


def eps_half_not_at_chance(evidence: Evidence) -> Asking:
    """Attack at eps 1/2 in linf with the attacks that judge; at most a share 1/k of the points may stand.

    Within that eps lies one grey image for all points, whatever the norm of the study, and it has one class: no model
    keeps more than the share of the most frequent class, 1/k where classes are equally frequent. Red when more than
    that stand beyond chance, by the lower end of Wilson's 95 % interval of what stands; amber when the points counted
    exceed it at all: an attack did not find what is certainly there.

    Carlini et al, On evaluating adversarial robustness, 2019 (an unbounded attack must reach chance).
    """
    attacks = [attack for attack in evidence.judges if "linf" in attack.norms]
    if not attacks:
        return None
    left = evidence.correct.nonzero().squeeze(1)
    for attack in attacks:
        hit = yield Question(attack, left, eps=HALF, norm="linf")
        left = left[~left.unsqueeze(1).eq(hit).any(1)]
    n = len(evidence.y)
    value = len(left) / n
    most = max(int(evidence.y.bincount().max()) / n, 1 / evidence.logits.shape[-1])
    low, _ = wilson_interval(len(left), n)
    level = "red" if low > most else "amber" if value > most else "green"
    says = f"{value:.1%} of the points stand at eps 1/2, where every image can be made grey (at most {most:.1%} can)"
    return flagged("eps_half_not_at_chance", level, value, says, "the attacks are failing")
