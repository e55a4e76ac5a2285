"""Stratified draws: every class gets its share of every part, right to within one image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..noise import Rng


def class_shares(counts: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Return how many images of each class each part gets: `table[class][part]`.

    Rows sum to `counts`, columns to `sizes` (which have the same total n), and every entry is
    `count * size / n` rounded down or up. Such a table always exists: as long as two entries of a row are not whole,
    a cycle of such entries can be shifted until one is (Cox, A constructive procedure for unbiased controlled
    rounding, 1987; here without the random choice, so that it is a pure function).
    """
    n = sum(counts)
    assert sum(sizes) == n
    table = [[count * size for size in sizes] for count in counts]  # in units of 1/n, so that arithmetic is exact
    open_rows = [{c: None for c, value in enumerate(row) if value % n} for row in table]
    open_columns = [{r: None for r in range(len(counts)) if table[r][c] % n} for c in range(len(sizes))]
    for start in range(len(counts)):
        while open_rows[start]:
            cycle = _cycle(start, open_rows, open_columns)
            room = min(n - table[r][c] % n if up else table[r][c] % n for r, c, up in cycle)
            for r, c, up in cycle:
                table[r][c] += room if up else -room
                if table[r][c] % n == 0:
                    del open_rows[r][c], open_columns[c][r]
    return [[value // n for value in row] for row in table]


def _cycle(
    start: int, open_rows: list[dict[int, None]], open_columns: list[dict[int, None]]
) -> list[tuple[int, int, bool]]:
    """Return entries that are not whole, alternately to raise and to lower, two in each row and column they touch.

    A row or column with one such entry has two, since its sum is whole: so the walk never gets stuck.
    """
    path: list[tuple[int, int, bool]] = []
    row_left_at: dict[int, int] = {}  # where in the path a row, or a column, was left
    column_left_at: dict[int, int] = {}
    row, column = start, -1
    while row not in row_left_at:
        row_left_at[row] = len(path)
        column = next(c for c in open_rows[row] if c != column)
        path.append((row, column, True))
        if column in column_left_at:
            return path[column_left_at[column] :]
        column_left_at[column] = len(path)
        row = next(r for r in open_columns[column] if r != row)
        path.append((row, column, False))
    return path[row_left_at[row] :]


def stratified(y: Tensor, pool: Tensor, sizes: Sequence[int], rng: Rng) -> list[Tensor]:
    """Return disjoint index tensors of the given sizes, drawn from `pool` class by class, each in random order.

    Args:
        y: class numbers of the whole data set, int64.
        pool: indices to draw from, int64.
        sizes: images wanted in each part; together at most `len(pool)`.
        rng: what to draw with; the draw is a pure function of it.
    """
    order = pool[rng.split("draw").permutation(len(pool))]
    labels = y[order]
    counts = labels.bincount()
    table = class_shares(counts.tolist(), [*sizes, len(pool) - sum(sizes)])
    by_class = labels.argsort(stable=True)
    rank = torch.empty_like(labels)  # how many of the same class come before it in the order
    rank[by_class] = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    ends = torch.tensor(table).cumsum(1)
    part = (rank[:, None] >= ends[labels]).sum(1)
    drawn = [order[part == number] for number in range(len(sizes))]
    return [indices[rng.split(number).permutation(len(indices))] for number, indices in enumerate(drawn)]
