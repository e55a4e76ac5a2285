"""(a) The training loop of the regularization tutorial, on an image folder, against ours on the same images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import robustreg as rr
from robustreg.models import animalnet

from .measure import Spread, alternate, best_threads, default_threads, ratios, threads, timed
from .table import Table

CLASSES = (3, 5, 8)  # digits that are easily taken for each other stand in for cat, dog and wild
VALIDATION = 100
SCHEDULED = 200  # epochs of the tutorial's experiments: 150 to 250
RECIPE: dict[str, Any] = {"batch_size": 128, "learning_rate": 5e-3, "momentum": 0.9}


def write_images(folder: Path, count: int) -> None:
    """Write 32x32 colour JPEGs in three class folders: `train` with `count` of them, `val` and a small `test`."""
    digits = rr.data.load_dataset("digits")[0]
    assert isinstance(digits.x, Tensor)
    noise = torch.Generator().manual_seed(0)
    pools = [digits.x[digits.y == label] for label in CLASSES]
    for part, size in (("train", count), ("val", VALIDATION), ("test", 30)):
        for index in range(size):
            label, rank = index % len(CLASSES), index // len(CLASSES)
            pool = pools[label]
            small = pool[rank % (len(pool) // 2) + (0 if part == "train" else len(pool) // 2)]
            image = F.interpolate(small[None], scale_factor=4)[0].expand(3, 32, 32)
            image = (image + 0.25 * torch.randn(image.shape, generator=noise)).clamp(0, 1)
            target = folder / part / f"class{CLASSES[label]}"
            target.mkdir(parents=True, exist_ok=True)
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(target / f"{index:04d}.jpg", quality=95)


class AnimalNet(nn.Module):
    """The tutorial's network: 3072-128-32-3, ending in log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3072, 128), nn.Linear(128, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities `(batch, 3)`."""
        x = F.relu(self.first(x.flatten(1)))
        return F.log_softmax(self.third(F.relu(self.second(x))), dim=1)


def as_taught(folder: Path, epochs: int) -> dict[str, list[float]]:
    """Train as the tutorial does: loaders with two workers, and after each epoch accuracies through the loaders."""
    normal = transforms.Normalize((0.5,) * 3, (0.5,) * 3)
    prepared = transforms.Compose([transforms.ToTensor(), normal])
    train, val = (datasets.ImageFolder(str(folder / part), transform=prepared) for part in ("train", "val"))
    train_loader = DataLoader(train, batch_size=128, num_workers=2)  # as there: not shuffled
    val_loader = DataLoader(val, batch_size=1000, num_workers=2)
    torch.manual_seed(2021)
    model = AnimalNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-3, momentum=0.9)
    curves: dict[str, list[float]] = {"train": [], "val": []}
    for _ in range(epochs):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.nll_loss(model(x), y)
            loss.backward()
            optimizer.step()
        curves["train"].append(_accuracy(model, train_loader))
        curves["val"].append(_accuracy(model, val_loader))
    return curves


def _accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += int((model(x).argmax(1) == y).sum())
            total += len(y)
    return right / total


def train(splits: Any, epochs: int) -> dict[str, list[float]]:
    """Train the same network on the folder's images, loaded once, in the same recipe."""
    torch.manual_seed(2021)
    run = rr.train(animalnet(splits.shape, 3), [], splits, epochs=epochs, **RECIPE)
    return {part: [row[f"{part}_accuracy"] for row in run.history] for part in ("train", "val")}


def run(
    *, counts: tuple[int, ...] = (100, 250), rounds: int = 3, taught_epochs: int = 5, epochs: int = SCHEDULED
) -> Table:
    """Time both, with our one-off loading counted and not counted; each on the better number of threads."""
    table = Table("tutorial", "(a) The tutorial's loop against ours, AnimalNet")
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_images(folder, count)
            _compare(table, folder, count, rounds, taught_epochs, epochs)
    table.notes += [
        f"32x32 colour JPEGs in three class folders, {VALIDATION} for validation, batches of 128; both sides report"
        " training and validation accuracy after every epoch. Both sides compute on as many threads as are best for"
        " ours; the tutorial's has two worker processes beside.",
        f"The tutorial's side trains {taught_epochs} epochs a round and ours {epochs}, as long as the tutorial's"
        " experiments: ratios are per epoch. With loading, reading the folder (decoding and hashing every image,"
        " drawing the split) is counted once in those epochs; the tutorial's side reads it three times an epoch.",
        f"The accuracies are those on the training images after {taught_epochs} epochs from equal weights; with 100"
        " images a batch is all of them, so both sides make the same steps.",
    ]
    return table


def _compare(table: Table, folder: Path, count: int, rounds: int, taught_epochs: int, epochs: int) -> None:
    splits = rr.load_data(f"folder:{folder}")
    assert (len(splits.train), len(splits.val)) == (count, VALIDATION), splits  # both sides see the same images
    curves: dict[str, dict[str, list[float]]] = {}

    def taught() -> None:
        curves["taught"] = as_taught(folder, taught_epochs)

    trials: dict[int, list[float]] = {1: [], default_threads(): []}
    for _ in range(rounds):
        for cores in trials:
            with threads(cores):
                trials[cores].append(timed(lambda: train(splits, max(1, epochs // 10))))
    best = best_threads(trials)
    with threads(best):
        sides = {
            "taught": taught,
            "ours": lambda: train(splits, epochs),
            "loading": lambda: rr.load_data(f"folder:{folder}"),
        }
        seconds = alternate(sides, rounds=rounds)
        same = train(splits, taught_epochs)
    scale = epochs / taught_epochs
    both = [sum(parts) for parts in zip(seconds["ours"], seconds["loading"], strict=True)]
    table.add(
        training_images=count,
        ratio=ratios(seconds["taught"], seconds["ours"], scale),
        ratio_with_our_loading=ratios(seconds["taught"], both, scale),
        target=40,
        taught_ms_an_epoch=1e3 * Spread.of(seconds["taught"]).median / taught_epochs,
        our_ms_an_epoch=1e3 * Spread.of(seconds["ours"]).median / epochs,
        our_loading_ms=1e3 * Spread.of(seconds["loading"]).median,
        accuracy_taught=curves["taught"]["train"][-1],
        accuracy_ours=same["train"][-1],
        threads=best,
    )
