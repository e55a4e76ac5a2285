"""What a study will run: arms x seeds x label conditions, and the identity of each run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

import torch
from torch import nn

from ..attacks import protocol_attacks
from ..data import Splits
from ..models import check_fits, count_parameters
from ..noise import fold, seed_key
from ..plugins import Catalogue
from ..resolve import Arm
from ..training import Recipe
from .conditions import LabelCondition
from .protocol import Protocol

BASELINE = "none"


def versions() -> dict[str, str]:
    """Return the versions of Python, torch and robustreg."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "robustreg": metadata.version("robustreg"),
    }


@dataclass(frozen=True)
class PlannedRun:
    """One training to do: arm x seed x label condition."""

    arm: Arm
    seed: int
    condition: LabelCondition

    def __str__(self) -> str:
        return f"{self.arm.name} · seed {self.seed} · {self.condition} labels"


@dataclass
class Plan:
    """A study, resolved: everything that decides its results, as objects.

    Splits and initial network are kept for the latest seed, since all its arms share them.
    """

    data_name: str
    model_name: str
    arms: list[Arm]
    seeds: tuple[int, ...]
    conditions: tuple[LabelCondition, ...]
    recipe: Recipe
    protocol: Protocol
    eps: tuple[float, ...]
    headline_eps: float
    norm: str
    device: str
    catalogue: Catalogue
    load: Callable[[int], Splits]
    build: Callable[[tuple[int, ...], int], nn.Module]
    notes: tuple[str, ...] = ()
    _ready: tuple[int, Splits, nn.Module] | None = None  # of the latest seed alone: splits can be large
    _hashes: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name for the study's folder."""
        text = f"{self.data_name}-{self.model_name}"
        return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)[-60:].strip("-.")

    def runs(self) -> Iterator[PlannedRun]:
        """Every run, seed by seed, so that a stopped study has whole seeds to compare."""
        for seed in self.seeds:
            for condition in self.conditions:
                for arm in self.arms:
                    yield PlannedRun(arm, seed, condition)

    def splits(self, seed: int) -> Splits:
        """Return the splits of a seed."""
        return self._of(seed)[1]

    def model(self, seed: int) -> nn.Module:
        """Return the initial network of a seed, the same for every arm and label condition."""
        return self._of(seed)[2]

    def split_hash(self, seed: int) -> str:
        """Return the hash of the splits of a seed."""
        if seed not in self._hashes:
            self._of(seed)
        return self._hashes[seed][0]

    def parameters(self) -> int:
        """Return the number of trainable parameters of the network."""
        return count_parameters(self.model(self._ready[0] if self._ready else self.seeds[0]))

    def recipe_of(self, condition: LabelCondition) -> Recipe:
        """Return the recipe under a label condition, which has its own number of epochs."""
        return self.recipe.changed(epochs=condition.epochs)

    def identity(self, run: PlannedRun) -> str:
        """Return a hash of everything that decides the result of a run."""
        decides = {
            "versions": self.versions(run.arm),
            "split": self.split_hash(run.seed),
            "weights": self._hashes[run.seed][1],
            "regularizers": run.arm.settings(),
            "seed": run.seed,
            "condition": asdict(run.condition),
            "recipe": asdict(self.recipe_of(run.condition)),
            "eps": [*self.eps, self.headline_eps],
            "norm": self.norm,
            "protocol": self.protocol.name,
            "device": self.device,
            "measures": self._strangers_measures(),
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]

    def _strangers_measures(self) -> dict[str, str]:
        # Ours come with the version of the core; a newly installed one has to see every run.
        origins = ((name, self.catalogue.origins["measures", name]) for name in self.catalogue.offers["measures"])
        core = metadata.metadata("robustreg")["Name"]
        return {name: f"{at.distribution} {at.version}" for name, at in origins if at.distribution != core}

    def measures(self) -> dict[str, bool | None]:
        """Return the measures there are, and whether higher is better (None: neither)."""
        return {name: measure.higher_is_better for name, measure in self.catalogue.offers["measures"].items()}

    def describe(self) -> dict[str, Any]:
        """Return the resolved study as plain values: what decides its numbers, for records and reports."""
        full = [condition for condition in self.conditions if condition.images is not None]
        return {
            "name": self.name,
            "data": self.data_name,
            "model": self.model_name,
            "parameters": self.parameters(),
            "seeds": list(self.seeds),
            "epochs": self.recipe.epochs,
            "recipe": asdict(self.recipe),
            "label_conditions": [str(condition) for condition in self.conditions],
            "random_labels": [asdict(condition) for condition in full],
            "train_images": len(self.splits(self.seeds[0]).train),
            "test_images": len(self.splits(self.seeds[0]).test),
            "classes": list(self.splits(self.seeds[0]).classes),
            "eps": list(self.eps),
            "headline_eps": self.headline_eps,
            "norm": self.norm,
            "attacks": [attack.name for attack in protocol_attacks(self.protocol.name)],
            "protocol": self.protocol.name,
            "device": self.device,
            "versions": self.versions(),
            "split_hashes": {str(seed): self.split_hash(seed) for seed in self.seeds},
            "notes": [*self.splits(self.seeds[0]).notes, *self.notes],
        }

    def manifest(self, seed: int) -> dict[str, Any]:
        """Return what a model file says of itself, so that it can be loaded without the study."""
        splits = self.splits(seed)
        return {
            "model": self.model_name,
            "data": self.data_name,
            "shape": list(splits.shape),
            "classes": len(splits.classes),
            "class_names": list(splits.classes),
            "seed": seed,
            "versions": self.versions(),
        }

    def versions(self, *arms: Arm) -> dict[str, str]:
        """Return the versions of Python, the core, torch and the plugins that the arms come from."""
        found = versions()
        for member in (member for arm in arms or self.arms for member in arm.regularizers):
            origin = self.catalogue.origins.get(("regularizers", type(member).name))
            if origin is not None:
                found[origin.distribution] = origin.version
        return found

    def _of(self, seed: int) -> tuple[int, Splits, nn.Module]:
        if self._ready is None or self._ready[0] != seed:
            splits = self.load(seed)
            with torch.random.fork_rng():
                torch.manual_seed(fold(seed_key(seed), "weights"))
                model = self.build(splits.shape, len(splits.classes))
            check_fits(model, splits.shape, len(splits.classes), self.model_name)
            digest = hashlib.sha256(repr(model).encode())
            for name, tensor in model.state_dict().items():
                digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
            self._ready = (seed, splits, model)
            self._hashes[seed] = (splits.hash, digest.hexdigest())
        return self._ready
