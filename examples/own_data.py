"""Compare regularizers on tensors of your own: two noisy classes of stripes."""

import torch

import robustreg as rr


def stripes(count: int) -> rr.data.Dataset:
    """Images of 8x8 pixels, striped across or along, under heavy noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 2
    pattern = (torch.arange(8) % 2).float().expand(8, 8)
    clean = torch.where(y[:, None, None] == 0, pattern, pattern.T)
    noisy = (0.5 + 0.25 * (clean - 0.5) + 0.3 * torch.randn(count, 8, 8, generator=generator)).clamp(0, 1)
    return rr.data.Dataset("stripes", noisy[:, None], y, ("along", "across"))


def main(count: int = 600, seeds: int = 3, epochs: int = 20) -> None:
    """Print the table and the verdict; eps has to be chosen for the data."""
    arms = ["none", "l1:1e-3", "dropout:0.5", "early_stopping:3"]
    print(rr.compare(arms, data=stripes(count), seeds=seeds, epochs=epochs, eps=[0.02, 0.05, 0.1], label_noise=[0.4]))


if __name__ == "__main__":
    main()
