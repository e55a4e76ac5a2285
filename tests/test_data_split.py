"""Data sets, their splits and their batches."""

from __future__ import annotations

import subprocess
import sys
from math import ceil, floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robustreg.data import Dataset, load_data, make_splits, pixels
from robustreg.data.strata import class_shares
from robustreg.errors import DataError, UsageError


class Listed:
    """A stream over a tensor: what a tensor in memory is compared with."""

    def __init__(self, x):
        self.x, self.shape, self.reads = x, tuple(x.shape[1:]), 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.reads += 1
        return self.x[index]


def numbered(counts, *, part=None, shape=(1, 4, 4), dtype=torch.uint8, **more):
    """A data set in which every image is different, with so many images of each class, classes mixed."""
    n = sum(counts)
    bits = (torch.arange(n)[:, None] >> torch.arange(16)) & 1
    x = (bits * 255).to(torch.uint8).reshape(n, 1, 4, 4).expand(n, shape[0], 4, 4).contiguous()
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    y = y[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    part = None if part is None else torch.tensor(part, dtype=torch.int8)
    x = x if dtype == torch.uint8 else x.to(dtype) / 255
    return Dataset("numbered", x, y, tuple(f"c{i}" for i in range(len(counts))), part, **more)


def members(splits):
    return [set(split.indices.tolist()) for split in (splits.train, splits.val, splits.test)]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_class_shares_have_the_margins_and_are_rounded_proportions(data):
    counts = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(sum))
    n = sum(counts)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), min_size=0, max_size=3)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    table = class_shares(counts, sizes)
    assert [sum(row) for row in table] == counts
    assert [sum(column) for column in zip(*table, strict=True)] == sizes
    for count, row in zip(counts, table, strict=True):
        for size, got in zip(sizes, row, strict=True):
            # The exact share is a fraction; the entry is one of its two neighbours, itself when it is whole.
            assert floor(count * size / n + 1e-9) <= got <= ceil(count * size / n - 1e-9)


def test_class_shares_of_a_thousand_uneven_classes_are_quick_and_right():
    counts = [3 + (37 * i) % 101 for i in range(1000)]
    n = sum(counts)
    sizes = [n // 2, n // 7, n // 5]
    sizes.append(n - sum(sizes))
    table = class_shares(counts, sizes)
    assert [sum(column) for column in zip(*table, strict=True)] == sizes
    assert (
        max(
            abs(got - c * s / n)
            for c, row in zip(counts, table, strict=True)
            for s, got in zip(sizes, row, strict=True)
        )
        < 1
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40), st.lists(st.integers(12, 40), min_size=2, max_size=5))
def test_a_split_is_stratified_disjoint_and_says_what_it_holds(seed, counts):
    data = numbered(counts)
    n = len(data)
    splits = make_splits(data, seed=seed)
    val, test = round(0.15 * n), round(0.25 * n)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (n - val - test, val, test)
    train_set, val_set, test_set = members(splits)
    assert train_set | val_set | test_set == set(range(n))
    assert len(train_set) + len(val_set) + len(test_set) == n
    for split in (splits.train, splits.val, splits.test):
        assert torch.equal(split.x, data.x[split.indices])
        assert torch.equal(split.y, data.y[split.indices])
        got = split.y.bincount(minlength=len(counts))
        assert all(abs(g - c * len(split) / n) < 1 for g, c in zip(got.tolist(), counts, strict=True))


def test_a_split_is_a_pure_function_of_data_and_seed():
    data = numbered([30, 40])
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = make_splits(data, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)  # no global randomness used
    torch.rand(7)
    again = make_splits(numbered([30, 40]), seed=3)
    assert torch.equal(first.train.indices, again.train.indices) and first.hash == again.hash
    other = make_splits(data, seed=4)
    assert members(other) != members(first) and other.hash != first.hash


def test_the_digits_split_is_the_same_on_every_machine():
    # Frozen: a change of it makes old studies incomparable, and has to be meant.
    splits = load_data("digits", seed=0)
    assert splits.hash == "eba99044c7c8570200614e1a7f95b04f50049266e9886826c649f5de5985d160"
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1000, 297, 500)


def test_every_image_is_as_likely_as_any_other_to_be_tested():
    data = numbered([20, 20])
    draws = 400
    tested = torch.zeros(40)
    first = torch.zeros(40)
    for seed in range(draws):
        splits = make_splits(data, seed=seed, train=24, val=6, test=10)
        tested[splits.test.indices] += 1
        first[splits.train.indices[0]] += 1
    # Within a class 5 of 20 are drawn without replacement, so the statistic is chi-squared times 15/20 of binomial.
    expected = draws * 10 / 40
    statistic = float(((tested - expected) ** 2 / expected).sum()) / (0.75 * 20 / 19)
    assert 0.001 < stats.chi2.sf(statistic, 38) < 0.999
    assert stats.chisquare(first.numpy()).pvalue > 0.001  # order inside a part is random too


def test_the_hash_depends_on_images_labels_class_names_and_parts():
    data = numbered([20, 20])
    base = data.fingerprint
    brighter = data.x.clone()
    brighter[7, 0, 0, 0] ^= 1
    swapped = data.y.clone()
    swapped[3] = 1 - swapped[3]
    part = torch.zeros(40, dtype=torch.int8)
    part[:4] = 2
    variants = [
        Dataset("numbered", brighter, data.y, data.classes),
        Dataset("numbered", data.x, swapped, data.classes),
        Dataset("numbered", data.x, data.y, ("c0", "other")),
        Dataset("numbered", data.x.reshape(40, 1, 2, 8), data.y, data.classes),
        Dataset("numbered", data.x, data.y, data.classes, part),
    ]
    assert len({base, *(variant.fingerprint for variant in variants)}) == 6
    assert Dataset("another name", data.x.clone(), data.y, data.classes).fingerprint == base


def test_equal_images_are_dropped_before_splitting_and_counted():
    data = numbered([30, 30])
    x = torch.cat([data.x, data.x[:5]])
    y = torch.cat([data.y, data.y[:4], 1 - data.y[4:5]])  # the last copy has the other label
    doubled = Dataset("doubled", x, y, data.classes)
    for seed in range(5):
        splits = make_splits(doubled, seed=seed)
        assert set().union(*members(splits)) == set(range(60))  # the first of each is kept
        images = [row.numpy().tobytes() for split in (splits.train, splits.val, splits.test) for row in split.x]
        assert len(images) == len(set(images)) == 60
    assert splits.notes == ("dropped 5 exact duplicate images, 1 of them with another label than the image kept",)
    assert make_splits(data, seed=0).notes == ()


def test_a_given_test_part_is_fixed_and_validation_comes_from_train():
    part = ([0] * 8 + [2] * 2) * 10
    data = numbered([50, 50], part=part)
    given_test = {i for i, p in enumerate(part) if p == 2}
    seen = set()
    for seed in range(4):
        splits = make_splits(data, seed=seed)
        train, val, test = members(splits)
        assert test == given_test and len(val) == 8 and len(train) == 72 and not train & val
        seen.add(frozenset(val))
    assert len(seen) == 4
    fewer = make_splits(data, seed=0, test=10, val=20, train=30)
    assert members(fewer)[2] < given_test and (len(fewer.train), len(fewer.val), len(fewer.test)) == (30, 20, 10)
    share = data.y[sorted(given_test)].bincount() * 10 / 20
    assert all(abs(got - want) < 1 for got, want in zip(fewer.test.y.bincount().tolist(), share.tolist(), strict=True))


def test_given_parts_are_used_as_they_are():
    part = ([0] * 6 + [1] * 2 + [2] * 2) * 10
    splits = make_splits(numbered([50, 50], part=part), seed=9)
    for number, found in enumerate(members(splits)):
        assert found == {i for i, p in enumerate(part) if p == number}


def test_a_given_validation_part_stays_and_the_missing_test_part_comes_from_train():
    part = ([0] * 8 + [1] * 2) * 10
    train, val, test = members(make_splits(numbered([50, 50], part=part), seed=9))
    assert val == {i for i, p in enumerate(part) if p == 1}
    assert len(test) == 20 and len(train) == 60 and not train & test


def test_copies_of_a_given_test_image_leave_train_but_not_test():
    part = ([0] * 6 + [1] * 2 + [2] * 2) * 10
    data = numbered([50, 50], part=part)
    x = data.x.clone()
    x[0], x[1], x[6], x[18] = x[8], x[2], x[9], x[8]  # train=test, train=train, val=test, test=test
    splits = make_splits(Dataset("copies", x, data.y, data.classes, data.part), seed=0)
    train, val, test = members(splits)
    assert test == {i for i, p in enumerate(part) if p == 2}
    assert 6 not in val and len(val) == 19
    assert train == {i for i, p in enumerate(part) if p == 0} - {0, 2}
    assert splits.notes[0].startswith("dropped 3 exact duplicate images")


@pytest.mark.parametrize(
    "sizes, says",
    [
        ({"train": 5000}, "train=5000, val=9, test=15 are more than the 60 different images"),
        ({"test": 0}, "test=0"),
        ({"train": -3}, "train=-3"),
        ({"test": 1}, "no image of class"),
        ({"test": 60}, "more than the 60"),
    ],
)
def test_sizes_that_cannot_be_had_are_data_errors(sizes, says):
    with pytest.raises(DataError, match=says):
        make_splits(numbered([30, 30]), seed=0, **sizes)


def test_no_validation_part_can_be_asked_for_and_other_sizes_make_room():
    splits = make_splits(numbered([30, 30]), seed=0, val=0, test=40)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (20, 0, 40)
    assert list(splits.val.batches()) == []


def test_a_class_missing_from_a_given_part_is_named():
    part = [0] * 80 + [2] * 20
    data = numbered([50, 50], part=part)
    y = data.y.clone()
    y[80:] = 0
    with pytest.raises(DataError, match=r"no image of class 'c1' .* test part of 20"):
        make_splits(Dataset("lopsided", data.x, y, data.classes, data.part), seed=0)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"classes": ("one",)}, "at least 2 classes"),
        ({"classes": ("a", "a")}, "must differ"),
        ({"y": torch.tensor([0, 1, 2])}, "0 to 1, got 0 to 2"),
        ({"y": torch.tensor([0, 1])}, "3 images but 2 labels"),
        ({"y": torch.tensor([0, 1, 1], dtype=torch.int32)}, "int64"),
        ({"x": torch.full((3, 1, 2, 2), 1.5)}, "must lie in"),
        ({"x": torch.full((3, 1, 2, 2), float("nan"))}, "3 of 3 images hold NaN"),
        ({"x": torch.zeros(3, 1, 2, 2, dtype=torch.int64)}, "uint8"),
        ({"x": torch.zeros(0, 1, 2, 2)}, "n > 0"),
        ({"part": torch.tensor([0, 1, 3], dtype=torch.int8)}, "part must be"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(change, says):
    fields = {"name": "bad", "x": torch.rand(3, 1, 2, 2), "y": torch.tensor([0, 1, 1]), "classes": ("a", "b")}
    Dataset(**fields)
    with pytest.raises(DataError, match=says):
        Dataset(**(fields | change))


def test_pixels_are_bytes_over_255_and_floats_unchanged():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(pixels(every), (torch.arange(256, dtype=torch.float64) / 255).float())
    some = torch.rand(5)
    assert pixels(some) is some


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
@pytest.mark.parametrize("shuffled", [False, True])
def test_streamed_batches_equal_those_in_memory(dtype, size, shuffled):
    data = numbered([50, 50], shape=(3, 4, 4), dtype=dtype)
    streamed = Dataset("streamed", Listed(data.x), data.y, data.classes)
    assert streamed.fingerprint == data.fingerprint and streamed.shape == data.shape == (3, 4, 4)
    here, there = make_splits(data, seed=1), make_splits(streamed, seed=1)
    assert here.hash == there.hash and there.train.streamed and not here.train.streamed
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2)) if shuffled else None
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    memory, stream = list(here.train.batches(order, size)), list(there.train.batches(order, size))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(memory) == len(stream) == ceil(60 / size)
    rows = here.train.indices if order is None else here.train.indices[order]
    for (x, y), (xs, ys), chunk in zip(memory, stream, rows.split(size), strict=True):
        assert x.dtype == xs.dtype == torch.float32 and y.dtype == ys.dtype == torch.int64
        assert torch.equal(x, pixels(data.x[chunk])) and torch.equal(y, data.y[chunk])
        assert torch.equal(x, xs) and torch.equal(y, ys)


def test_a_stream_is_read_lazily():
    data = numbered([50, 50])
    stream = Listed(data.x)
    splits = make_splits(Dataset("streamed", stream, data.y, data.classes), seed=1)
    stream.reads = 0
    next(splits.train.batches(size=8))
    assert stream.reads == 8


def test_an_order_may_repeat_and_leave_out():
    split = make_splits(numbered([50, 50]), seed=1).train
    x, y = next(split.batches(torch.tensor([5, 5, 2]), 10))
    assert torch.equal(x, pixels(split.x[[5, 5, 2]])) and torch.equal(y, split.y[[5, 5, 2]])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_subset_keeps_track_of_where_its_images_are(streamed):
    data = numbered([50, 50])
    source = Dataset("d", Listed(data.x), data.y, data.classes) if streamed else data
    split = make_splits(source, seed=1).train
    part = split.subset(torch.tensor([9, 0, 4])).subset(torch.tensor([2, 1]))
    assert torch.equal(part.indices, split.indices[[4, 0]]) and torch.equal(part.y, split.y[[4, 0]])
    assert torch.equal(next(part.batches())[0], pixels(data.x[part.indices])) and len(part) == 2


def test_other_labels_leave_the_images_alone():
    split = make_splits(numbered([50, 50]), seed=1).train
    other = split.with_labels(1 - split.y)
    assert other.x is split.x and torch.equal(other.y, 1 - split.y) and torch.equal(other.indices, split.indices)
    with pytest.raises(UsageError, match="int64"):
        split.with_labels(split.y[:3])
    with pytest.raises(UsageError, match="batch size"):
        next(split.batches(size=0))


def test_to_moves_images_and_labels():
    splits = make_splits(numbered([50, 50]), seed=1).to("meta")
    assert splits.train.x.is_meta and splits.val.y.is_meta and splits.test.indices.is_meta


def test_the_data_room_imports_no_torchvision_pooch_or_pillow():
    code = (
        "import sys, robustreg.data as d; d.load_data('digits');"
        "print(*sorted({'torchvision', 'pooch', 'requests', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_as_test_holds_every_image_once_and_nothing_else():
    from robustreg.data import as_test, digits

    dataset = digits.source.load()
    splits = as_test(dataset, seed=3)
    assert len(splits.train) == len(splits.val) == 0
    assert sorted(splits.test.indices.tolist()) == list(range(len(dataset)))
    assert splits.hash == as_test(dataset, seed=3).hash != as_test(dataset, seed=4).hash
