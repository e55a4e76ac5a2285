"""Compare as in a notebook: a result that shows itself, a DataFrame, and figures."""

from pathlib import Path

import robustreg as rr


def main(folder: str = "robustreg-out/notebook", seeds: int = 3, epochs: int = 20) -> None:
    """Keep finished runs in `folder`, print a table of means, and save a figure."""
    comparison = rr.compare(
        ["none", "dropout:0.5", "label_smoothing:0.1"], seeds=seeds, epochs=epochs, label_noise=[], out=folder
    )  # in a notebook, `comparison` at the end of a cell shows the table
    frame = comparison.frame()
    print(frame.groupby("arm", sort=False)[["clean_accuracy", "fgsm_accuracy", "robust_accuracy"]].mean().round(3))
    comparison.plot("robust_curve").savefig(Path(folder) / "robust_curve.png")


if __name__ == "__main__":
    main()
