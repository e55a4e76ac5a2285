"""What a study will run: arms x seeds x label conditions, and the identity of each run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from ..attacks import protocol_attacks
from ..attacks.transfer import Surrogate
from ..data import Splits
from ..measures import Measure
from ..models import check_fits, count_parameters
from ..noise import fold, seed_key
from ..plugins import Catalogue
from ..resolve import Arm
from ..training import Recipe
from .conditions import LabelCondition
from .protocol import Protocol

BASELINE = "none"
KEPT = 2**28  # bytes of images, and of trained baselines, that are kept at hand
SMALL_MODEL = 1_000_000  # parameters; below it one thread is as fast as many, and bitwise reproducible anywhere
STACKED = 30_000  # parameters up to which three runs in a stack were faster than one by one, on a CPU


@cache
def _of_core() -> dict[str, str]:
    # Kept, because to look up a distribution reads a file, and every run asks.
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "robustreg": metadata.version("robustreg"),
    }


@cache
def _core_name() -> str:
    return metadata.metadata("robustreg")["Name"]


def versions() -> dict[str, str]:
    """Return the versions of Python, torch and robustreg."""
    return dict(_of_core())


def images_bytes(splits: Splits) -> int:
    """Return how much memory the images of all splits take; those of a stream take none."""
    parts = (splits.train, splits.val, splits.test)
    return sum(split.x.nbytes for split in parts if isinstance(split.x, Tensor))


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

    Splits and initial network are kept for the latest seeds, since their arms share them.
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
    wanted: tuple[str, ...] | None = None  # measures; None for all there are
    stacked: bool | None = None  # False: not even small networks train in stacks
    unnamed: tuple[str, ...] = ()  # why no text names it whole, so that only what made it can plan it again
    strangers: dict[str, str] | None = None  # whose measures count as those of the runs; None for what is here
    surrogates: dict[int, Surrogate] = field(default_factory=dict)  # trained baselines, where runs are measured
    _ready: dict[int, tuple[Splits, nn.Module]] = field(default_factory=dict)
    _hashes: dict[int, tuple[str, str]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        # What another process gets: nothing that it can make itself, hashes least of all, since they say whether its
        # data are these; and of the catalogue what runs ask for, so that plugins they do not use need not be there.
        offers: dict[str, dict[str, Any]] = {"measures": {measure.name: measure for measure in self.measured()}}
        origins = {at: origin for at, origin in self.catalogue.origins.items() if at[0] in ("regularizers", "measures")}
        return vars(self) | {"catalogue": Catalogue(offers, origins), "surrogates": {}, "_ready": {}, "_hashes": {}}

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
        return self._of(seed)[0]

    def model(self, seed: int) -> nn.Module:
        """Return the initial network of a seed, the same for every arm and label condition."""
        return self._of(seed)[1]

    def split_hash(self, seed: int) -> str:
        """Return the hash of the splits of a seed."""
        if seed not in self._hashes:
            self._of(seed)
        return self._hashes[seed][0]

    def parameters(self) -> int:
        """Return the number of trainable parameters of the network."""
        return count_parameters(self.model(next(iter(self._ready), self.seeds[0])))

    @property
    def together(self) -> bool:
        """Whether runs are trained in stacks: where the network is small, and it is not said otherwise.

        A rule and no stopwatch: it decides the last bits of a result, which must not depend on what else the machine
        did, on the engine, or on which runs of the study happened to be left to do.
        """
        limit = STACKED if torch.device(self.device).type == "cpu" else SMALL_MODEL
        return self.stacked is not False and self.parameters() <= limit

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
            "together": self.together,
            "measures": self.strangers_measures(),
        }
        if self.wanted is not None:
            decides["only"] = sorted(self.wanted)
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]

    def strangers_measures(self) -> dict[str, str]:
        """Return the distributions of the measures that are not ours.

        Ours come with the version of the core; a newly installed one has to see every run.
        """
        if self.strangers is not None:
            return self.strangers
        origins = ((name, self.catalogue.origins["measures", name]) for name in self.measures())
        core = _core_name()
        return {name: f"{at.distribution} {at.version}" for name, at in origins if at.distribution != core}

    def measures(self) -> dict[str, bool | None]:
        """Return the measures that are taken, and whether higher is better (None: neither)."""
        return {measure.name: measure.higher_is_better for measure in self.measured()}

    def measured(self) -> list[Measure]:
        """Return the measures that are taken, in the order in which they are offered."""
        offered: dict[str, Measure] = self.catalogue.offers["measures"]
        return [measure for name, measure in offered.items() if self.wanted is None or name in self.wanted]

    @property
    def attacked(self) -> bool:
        """Whether models are attacked, and so can be judged: only where a measure asks for it."""
        return any(measure.attacks for measure in self.measured())

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
            "measures": None if self.wanted is None else list(self.measures()),
            "device": self.device,
            "versions": self.versions(),
            "split_hashes": {str(seed): self.split_hash(seed) for seed in self.seeds},
            "notes": [*self.splits(self.seeds[0]).notes, *self.notes],
        }

    def manifest(self, seed: int, *arms: Arm) -> dict[str, Any]:
        """Return what the model file of an arm says of itself, so that it can be loaded without the study."""
        splits = self.splits(seed)
        return {
            "model": self.model_name,
            "data": self.data_name,
            "shape": list(splits.shape),
            "classes": len(splits.classes),
            "class_names": list(splits.classes),
            "seed": seed,
            "versions": self.versions(*arms),  # not of all: its bytes are of the run alone
        }

    def versions(self, *arms: Arm) -> dict[str, str]:
        """Return the versions of Python, the core, torch and the plugins that the arms come from."""
        found = versions()
        for member in (member for arm in arms or self.arms for member in arm.regularizers):
            origin = self.catalogue.origins.get(("regularizers", type(member).name))
            if origin is not None:
                found[origin.distribution] = origin.version
        return found

    def _of(self, seed: int) -> tuple[Splits, nn.Module]:
        if seed not in self._ready:
            splits = self.load(seed)
            with torch.random.fork_rng():
                torch.manual_seed(fold(seed_key(seed), "weights"))
                model = self.build(splits.shape, len(splits.classes))
            check_fits(model, splits.shape, len(splits.classes), self.model_name)
            digest = hashlib.sha256(repr(model).encode())
            for name, tensor in model.state_dict().items():
                digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
            self._hashes[seed] = (splits.hash, digest.hexdigest())
            self._ready[seed] = (splits, model)
            size = images_bytes(splits) + sum(tensor.nbytes for tensor in model.state_dict().values())
            while len(self._ready) > max(1, KEPT // max(1, size)):
                del self._ready[next(iter(self._ready))]
        else:
            self._ready[seed] = self._ready.pop(seed)  # the latest is the last to go
        return self._ready[seed]
