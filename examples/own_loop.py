"""Use a model and its regularizers as a loss in a training loop of your own."""

import torch

import robustreg as rr


def main(epochs: int = 10) -> None:
    """Print the named terms of the loss, epoch by epoch."""
    splits = rr.load_data("digits", seed=0)
    torch.manual_seed(0)
    model = rr.models.mlp((1, 8, 8), 10)
    objective = rr.Objective(model, [rr.regularizers.L1(1e-4), rr.regularizers.Mixup(0.5)])
    optimizer = torch.optim.Adam(objective.network.parameters(), lr=1e-3)
    step = 0
    for epoch in range(epochs):
        for x, y in splits.train.batches(torch.randperm(len(splits.train)), 50):
            loss, terms = objective(x, y, key=step)  # equal keys give equal noise
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        print(epoch, {name: round(term.item(), 4) for name, term in terms.items()})
    print("test accuracy", rr.evaluate(objective.finish().eval(), splits)["clean_accuracy"])


if __name__ == "__main__":
    main()
