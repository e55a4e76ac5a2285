"""What kind of regularizer an arm is, read off the hooks that its regularizers implement.

No table of names: a stranger's plugin falls into its kind as a built-in does, and one that is no longer installed, or
was never in a catalogue, is "other".
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from .palette import BASELINE, KINDS, Look

if TYPE_CHECKING:
    from ..study import Comparison

NOTHING, SEVERAL, OTHER = "baseline", "several kinds", "other"
ADVERSARIAL, SMOOTH, IMAGES, LABELS, NETWORK, WEIGHTS, SCHEDULE = (
    "adversarial", "smooth in the input", "augmentation", "labels and outputs", "network", "weights", "schedule",
)  # fmt: skip


def kind_of(regularizer: type) -> str:
    """Return the kind of a regularizer: where in a training it acts, and what it looks at there.

    A class attribute `kind` with one of the names of `palette.KINDS` decides; else its hooks do. Adversarial is what
    moves images against the loss (a `batch` hook with `loss`) or learns from images within an eps; "smooth in the
    input" asks the network about other images, or once more about these (other hooks with `loss` or `predict`).
    """
    said = getattr(regularizer, "kind", None)
    if said in KINDS:
        return str(said)
    hooks = _hooks(regularizer)
    batch, penalty = hooks.get("batch", set()), hooks.get("penalty", set())
    knobs: Mapping[str, Any] = getattr(regularizer, "knobs", {})
    asks = {"loss", "predict"}
    sized = any("eps" in (name, getattr(knob, "symbol", None)) for name, knob in knobs.items())
    if "loss" in batch or (sized and (batch or penalty)):
        return ADVERSARIAL
    if "fit" in hooks.get("prepare", set()):  # learns from another network's answers
        return LABELS
    if (batch | penalty) & asks:
        return SMOOTH
    if hooks.keys() & {"batch", "before_epoch"}:
        return IMAGES if _changes_images(regularizer, hooks) else LABELS
    if "logits" in penalty:
        return LABELS
    if "params" in penalty or hooks.keys() & {"weights", "after_step"}:
        return WEIGHTS
    if hooks.keys() & {"learning_rate", "gradient", "after_epoch"}:
        return SCHEDULE
    return NETWORK if hooks.keys() & {"prepare", "finish"} else OTHER


def kinds(comparison: Comparison) -> dict[str, str]:
    """Return the kind of every arm, in the order of the study: "several kinds" for a combination of different ones."""
    return {arm: _kind(comparison, arm) for arm in comparison.arms}


def look_of(kind: str) -> Look:
    """Return colour and marker of a kind; the same in every figure."""
    return BASELINE if kind == NOTHING else KINDS[kind]


def _kind(comparison: Comparison, arm: str) -> str:
    if arm == comparison.arms[0]:
        return NOTHING
    members = next((record.regularizers for record in comparison.of(arm) if record.regularizers), [])
    found = {_kind_named(str(member.get("name"))) for member in members}
    return found.pop() if len(found) == 1 else SEVERAL if found else OTHER


@cache
def _kind_named(name: str) -> str:
    regularizer = _catalogue().get(name)
    return OTHER if regularizer is None else kind_of(regularizer)


@cache
def _catalogue() -> dict[str, Any]:
    from ..plugins import discover

    return discover().offers["regularizers"]


def _changes_images(regularizer: type, hooks: Mapping[str, set[str]]) -> bool:
    """Whether the images that come out of its hooks differ from those that went in, asked of a few random ones."""
    import torch

    from ..noise import Rng, seed_key

    made = torch.Generator().manual_seed(0)
    x, y = torch.rand(64, 1, 8, 8, generator=made), torch.eye(8).repeat(8, 1)
    try:
        member = regularizer()
        for name in ("before_epoch", "batch"):
            if name not in hooks:
                continue
            labels = y.argmax(1) if name == "before_epoch" else y
            given = {"x": x, "y": labels, "rng": Rng(seed_key(0)), "progress": 0.5, "epoch": 0}
            after = getattr(member, name)(**{key: given[key] for key in hooks[name]})
            if after is not None and not torch.equal(after[0], x):
                return True
    except Exception:  # whatever a stranger's plugin trips over here, an arm has a kind
        return True
    return False


def _hooks(regularizer: type) -> dict[str, set[str]]:
    """The training hooks that a class implements, with the arguments each takes."""
    from ..hookspecs import PROJECT, Training

    found = {}
    for name in vars(Training):
        method = getattr(regularizer, name, None)
        if callable(method) and hasattr(method, f"{PROJECT}_impl"):
            found[name] = set(inspect.signature(method).parameters) - {"self"}
    return found
