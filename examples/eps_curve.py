"""Accuracy against eps for a model you already have, FGSM beside a real attack."""

import torch

import robustreg as rr


def main(epochs: int = 20) -> None:
    """Print accuracy at each eps under FGSM and under PGD."""
    splits = rr.load_data("digits", seed=0)
    torch.manual_seed(0)
    model = rr.train(rr.models.cnn((1, 8, 8), 10), [], splits, epochs=epochs).model  # any torch model does
    x, y = next(splits.test.batches(size=len(splits.test)))
    print("eps     FGSM (weak)  PGD-40")
    for sixteenths in range(6):
        eps = sixteenths / 16
        images = (rr.attacks.fgsm(model, x, y, eps=eps), rr.attacks.pgd(model, x, y, eps=eps, steps=40))
        weak, strong = (float((model(image).argmax(1) == y).float().mean()) for image in images)
        print(f"{eps:.4f}  {weak:11.3f}  {strong:6.3f}")


if __name__ == "__main__":
    main()
