"""Compare two regularizers on a network of your own."""

from torch import nn

import robustreg as rr


def network(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Any torch.nn.Module from pixels in [0, 1] to logits; normalization, if any, is a layer of it."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * height * width, classes),
    )


def main(seeds: int = 3, epochs: int = 15) -> None:
    """Print the table and the verdict."""
    print(rr.compare(["l2:1e-3", "input_noise:0.2"], model=network, seeds=seeds, epochs=epochs, label_noise=[]))


if __name__ == "__main__":
    main()
