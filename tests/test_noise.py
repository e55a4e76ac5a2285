"""Keyed random numbers: their distributions, their independence, and that a key alone decides them."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from robustreg.noise import Key, Rng, fold, permutations, seed_key

COUNT = 200_000
KEYS = [fold(seed_key(seed), "test") for seed in range(6)]
SIZES = (1, 2, 3, 5, 8, 17, 33, 256, 1001)
TOO_UNLIKELY = 1e-4  # the keys are fixed, so a test passes always or never; this is how strange the numbers may be

DRAWS = {
    "uniform": lambda rng, n: rng.uniform(n),
    "normal": lambda rng, n: rng.normal(n),
    "bernoulli": lambda rng, n: rng.bernoulli(0.3, n),
    "bernoulli of a tensor": lambda rng, n: rng.bernoulli(torch.tensor(0.3, dtype=torch.float64), n),
    "bernoulli in floats": lambda rng, n: rng.bernoulli(0.3, n, dtype=torch.float32),
    "bernoulli of a tensor in floats": lambda rng, n: rng.bernoulli(torch.tensor(0.3), n, dtype=torch.float32),
    "integers": lambda rng, n: rng.integers(7, n),
    "permutation": lambda rng, n: rng.permutation(n),
    "symmetric_beta": lambda rng, n: rng.symmetric_beta(torch.tensor(0.7, dtype=torch.float64), n),
    "split": lambda rng, n: rng.split("other").uniform(n),
    "split twice": lambda rng, n: rng.split("other").split(3).uniform(n),
    "split by a tensor": lambda rng, n: rng.split("other").split(torch.tensor(3)).uniform(n),
    "second draw": lambda rng, n: (rng.uniform(n), rng.uniform(n))[1],
    "from its key": lambda rng, n: Rng(rng.split("other").key).normal(n),
}


def splitmix64(state: int, count: int) -> list[int]:
    """The published generator, in Python's own integers."""
    mask = (1 << 64) - 1
    found = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        found.append(z ^ (z >> 31))
    return found


def test_the_reference_generator_here_has_the_published_first_number() -> None:
    assert splitmix64(0, 1) == [0xE220A8397B1DCDAF]


STARTS = [0, 1, -1, 2**63 - 1, -(2**63), 123456789]


@pytest.mark.parametrize("key", STARTS)
@pytest.mark.parametrize("tensor", [False, True])
def test_the_numbers_are_splitmix64_of_the_key_and_each_draw_starts_four_billion_numbers_on(
    key: int, tensor: bool
) -> None:
    rng = Rng(torch.tensor(key) if tensor else key)
    for draw in range(3):
        numbers = splitmix64(key + draw * 2**32 * 0x9E3779B97F4A7C15, 8)
        halves = [half for z in numbers for half in (z % 2**32, z >> 32)]
        assert [(half + 2**31) % 2**32 // 2**8 * 2.0**-24 for half in halves] == rng.uniform(16).tolist()


def sixteens(key: int, count: int) -> np.ndarray:
    """The published generator by counter, in NumPy's unsigned integers, cut into numbers of 16 bits."""
    with np.errstate(over="ignore"):
        z = np.uint64(key % 2**64) + np.arange(1, count // 4 + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.stack([z >> np.uint64(shift) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)], axis=1).ravel()


@pytest.mark.parametrize("key", STARTS)
@pytest.mark.parametrize("p", [0.0, 1e-6, 0.25, 1 / 3, 0.5, 0.9, 1 - 2**-17, 1.0])
def test_bernoulli_compares_sixteen_bits_of_splitmix64_with_p_in_every_type(key: int, p: float) -> None:
    expected = (sixteens(key, 400_000).astype(int) + 2**15) % 2**16 < p * 2**16
    for given in (p, torch.tensor(p, dtype=torch.float64)):
        for dtype in (torch.bool, torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64):
            drawn = Rng(key).bernoulli(given, 4, 100_000, dtype=dtype)
            assert drawn.dtype == dtype
            assert drawn.shape == (4, 100_000)
            np.testing.assert_array_equal(drawn.double().flatten().numpy(), expected)


def test_bernoulli_draws_with_many_probabilities_from_one_key() -> None:
    p = torch.tensor([0.0, 0.2, 1.0], dtype=torch.float64)
    for dtype in (torch.bool, torch.float32):
        together = torch.vmap(lambda p, dtype=dtype: Rng(KEYS[0]).bernoulli(p, 40, dtype=dtype))(p)
        for row, one in zip(together, p, strict=True):
            assert torch.equal(row, Rng(KEYS[0]).bernoulli(one, 40, dtype=dtype))


HALF = torch.tensor(0.5)


class Counter(TorchDispatchMode):
    """Counts tensor operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("key", [5, torch.tensor(5)])
def test_a_generator_that_is_not_drawn_from_costs_no_tensor_operation(key: Key) -> None:
    with Counter() as counter:
        Rng(key).split("network").split("a layer").split(7)
    assert counter.count == 0


@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (lambda rng: rng.uniform(2, 50), 21),
        (lambda rng: rng.normal(50, 64), 30),
        (lambda rng: rng.bernoulli(HALF, 50, 1, 1, 1), 22),
        (lambda rng: rng.bernoulli(HALF, 50, 128, dtype=torch.float32), 23),
        (lambda rng: rng.integers(10, 50), 18),
        (lambda rng: rng.permutation(50), 17),
        (lambda rng: rng.symmetric_beta(HALF), 37),
    ],
    ids=["uniform", "normal", "bernoulli", "bernoulli in floats", "integers", "permutation", "symmetric_beta"],
)
def test_a_draw_costs_few_tensor_operations(draw: Callable[[Rng], Any], most: int) -> None:
    """In the step of a small network each costs microseconds, however few numbers it makes."""
    rng = Rng(torch.tensor(5)).split("member")
    with Counter() as counter:
        draw(rng)
    assert counter.count <= most


@pytest.mark.parametrize("key", KEYS)
def test_uniforms_fill_a_hundred_bins_evenly(key: int) -> None:
    drawn = Rng(key).uniform(COUNT).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    assert TOO_UNLIKELY < stats.chisquare(counts).pvalue < 1 - TOO_UNLIKELY


@pytest.mark.parametrize("lag", [1, 2, COUNT // 2])
def test_a_uniform_says_nothing_about_its_neighbours(lag: int) -> None:
    drawn = Rng(KEYS[0]).uniform(COUNT).numpy()
    pairs = np.histogram2d(drawn[:-lag], drawn[lag:], bins=10, range=((0, 1), (0, 1)))[0]
    assert stats.chisquare(pairs.ravel()).pvalue > TOO_UNLIKELY


@pytest.mark.parametrize(
    "other",
    [
        lambda: Rng(KEYS[1]),
        lambda: Rng(KEYS[0] + 1),
        lambda: Rng(fold(KEYS[0], "x")),
        lambda: Rng(KEYS[0]).split("x"),
        lambda: Rng(fold(seed_key(1), "test")),
        lambda: Rng(fold(seed_key(0), "tesu")),
    ],
)
def test_keys_that_differ_give_independent_numbers(other: object) -> None:
    first, second = Rng(KEYS[0]).uniform(COUNT).numpy(), other().uniform(COUNT).numpy()  # type: ignore[operator]
    pairs = np.histogram2d(first, second, bins=10, range=((0, 1), (0, 1)))[0]
    assert stats.chisquare(pairs.ravel()).pvalue > TOO_UNLIKELY


def test_the_same_position_under_consecutive_steps_is_uniform_too() -> None:
    steps = fold(seed_key(0), torch.arange(20_000))
    drawn = torch.vmap(lambda key: Rng(key).uniform(2))(steps).numpy()
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > TOO_UNLIKELY
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 5 / math.sqrt(20_000)


MANY = 60_000  # keys, one a step
STEPS = torch.as_tensor(fold(fold(seed_key(0), "step"), torch.arange(MANY)))


def first_bits(key: Any, *names: int | str, draw: int = 0, at: int = 0) -> np.ndarray:
    """The 48 bits that uniforms show of one 64-bit number, in a row for each of many keys, as -1 and 1."""

    def one(key: torch.Tensor) -> torch.Tensor:
        rng = Rng(key)
        for name in names:
            rng = rng.split(name)
        return [rng.uniform(2 * at + 2) for _ in range(draw + 1)][draw][2 * at :]

    whole = (torch.vmap(one)(key) * 2**24).to(torch.int64)
    bits = whole[:, :, None] >> torch.arange(24) & 1
    return bits.flatten(1).numpy().astype(np.float32) * 2 - 1


NEIGHBOURS = {
    "a step and the next": lambda: (first_bits(STEPS[:-1]), first_bits(STEPS[1:])),
    "a number and the next": lambda: (first_bits(STEPS), first_bits(STEPS, at=1)),
    "a number and a later one": lambda: (first_bits(STEPS), first_bits(STEPS, at=64)),
    "a draw and the next": lambda: (first_bits(STEPS), first_bits(STEPS, draw=1)),
    "a generator and what is split off": lambda: (first_bits(STEPS), first_bits(STEPS, "mixup")),
    "two names": lambda: (first_bits(STEPS, "dropout"), first_bits(STEPS, "mixup")),
    "two similar names": lambda: (first_bits(STEPS, "1"), first_bits(STEPS, "2")),
    "two layers": lambda: (first_bits(STEPS, "network", "1.dropout"), first_bits(STEPS, "network", "2.dropout")),
    "two numbers as names": lambda: (first_bits(STEPS, 0), first_bits(STEPS, 1)),
    "a key and a key below it": lambda: (first_bits(STEPS), first_bits(fold(STEPS, 0))),
    "two seeds": lambda: (first_bits(STEPS), first_bits(fold(fold(seed_key(1), "step"), torch.arange(MANY)))),
    "two consecutive keys": lambda: (first_bits(torch.arange(MANY)), first_bits(torch.arange(MANY) + 1)),
    "two keys a power of two apart": lambda: (first_bits(STEPS), first_bits(STEPS + 2**40)),
    "two keys half the circle apart": lambda: (first_bits(STEPS), first_bits(STEPS + -(2**63))),
}


@pytest.mark.parametrize("which", NEIGHBOURS)
def test_no_bit_says_anything_about_a_bit_of_its_neighbour(which: str) -> None:
    first, second = NEIGHBOURS[which]()
    count = len(first)
    for one in (first, second):  # every bit is a fair coin
        squares = float((one.sum(0, dtype=np.float64) ** 2 / count).sum())
        assert TOO_UNLIKELY < stats.chi2.sf(squares, one.shape[1]) < 1 - TOO_UNLIKELY
    correlations = (first.T @ second).astype(np.float64) / math.sqrt(count)  # whole numbers below 2**24 before: exact
    assert TOO_UNLIKELY < stats.chi2.sf((correlations**2).sum(), correlations.size) < 1 - TOO_UNLIKELY
    assert stats.norm.sf(abs(correlations).max()) * 2 * correlations.size > TOO_UNLIKELY


def test_a_bit_pattern_repeats_as_often_as_chance_says() -> None:
    # The birthdays of 2**17 numbers of 32 bits: 2**34 / 2 pairs, 2 of which agree on average.
    equal = []
    for key in KEYS:
        halves = (Rng(key).uniform(2, 2**17).double() * 2**24).long()
        whole = (halves[0] << 8 | halves[1] >> 16).numpy()
        equal.append(len(whole) - len(np.unique(whole)))
    assert stats.poisson.cdf(sum(equal), 2 * len(KEYS)) > TOO_UNLIKELY
    assert stats.poisson.sf(sum(equal) - 1, 2 * len(KEYS)) > TOO_UNLIKELY


@pytest.mark.parametrize("key", KEYS[:3])
def test_normals_are_standard_normal(key: int) -> None:
    drawn = Rng(key).normal(COUNT).numpy().astype(np.float64)
    assert stats.kstest(drawn, "norm").pvalue > TOO_UNLIKELY
    assert abs(drawn.mean()) < 5 / math.sqrt(COUNT)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / COUNT)
    assert abs(stats.kurtosis(drawn)) < 5 * math.sqrt(24 / COUNT)
    assert abs(np.corrcoef(drawn[: COUNT // 2], drawn[COUNT // 2 :])[0, 1]) < 5 / math.sqrt(COUNT / 2)


def test_normals_have_the_tails_of_normals_and_pairs_that_fill_the_plane() -> None:
    drawn = Rng(KEYS[4]).normal(2_000_000).numpy().astype(np.float64)
    for bound in (3, 4, 4.5):
        assert stats.binomtest(int((abs(drawn) > bound).sum()), len(drawn), 2 * stats.norm.sf(bound)).pvalue > 1e-4
    first, second = np.split(drawn, 2)  # a radius and an angle made one of each
    angle = np.arctan2(second, first)
    assert stats.kstest(angle, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > TOO_UNLIKELY
    assert stats.kstest(first**2 + second**2, "chi2", args=(2,)).pvalue > TOO_UNLIKELY


@pytest.mark.parametrize("a", [0.1, 0.5, 1.0, 2.0, 20.0])
def test_symmetric_beta_is_beta(a: float) -> None:
    # In float32 small parameters pile up at exactly 0 and 1, where the continuous test does not apply: bin them.
    drawn = Rng(KEYS[0]).symmetric_beta(torch.tensor(a), COUNT).numpy().astype(np.float64)
    edges = stats.beta.ppf(np.linspace(0, 1, 21), a, a)
    counts = np.histogram(drawn, bins=edges)[0]
    assert counts.sum() == COUNT
    if a >= 0.5:
        assert stats.chisquare(counts).pvalue > TOO_UNLIKELY
        assert stats.kstest(drawn, "beta", args=(a, a)).pvalue > TOO_UNLIKELY
    else:  # the outermost bins lie below the spacing of float32 near 1
        assert stats.chisquare([counts[:10].sum(), counts[10:].sum()]).pvalue > TOO_UNLIKELY
        assert abs(drawn.var() - stats.beta.var(a, a)) < 5 * drawn.var() / math.sqrt(COUNT)


@pytest.mark.parametrize("a", [0.0, torch.tensor(0.0), torch.tensor(0.0, dtype=torch.float64)])
def test_symmetric_beta_of_zero_is_a_fair_coin(a: object) -> None:
    drawn = Rng(KEYS[0]).symmetric_beta(a, COUNT)  # type: ignore[arg-type]
    assert {0.0, 1.0} == set(drawn.unique().tolist())
    assert abs(float(drawn.mean()) - 0.5) < 5 * 0.5 / math.sqrt(COUNT)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_bernoulli_is_exact_at_0_and_1(p: float) -> None:
    for value in (p, torch.tensor(p), torch.tensor(p, dtype=torch.float64)):
        drawn = Rng(KEYS[0]).bernoulli(value, COUNT)
        assert drawn.dtype == torch.bool
        assert COUNT * p == int(drawn.sum())


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_bernoulli_has_its_rate_and_no_memory(p: float) -> None:
    drawn = Rng(KEYS[0]).bernoulli(p, COUNT).numpy()
    assert stats.binomtest(int(drawn.sum()), COUNT, p).pvalue > TOO_UNLIKELY
    pairs = drawn[:-1].astype(int) * 2 + drawn[1:]
    expected = np.outer([1 - p, p], [1 - p, p]).ravel() * len(pairs)
    assert stats.chisquare(np.bincount(pairs, minlength=4), expected, sum_check=False).pvalue > TOO_UNLIKELY


def test_integers_are_uniform_and_in_range() -> None:
    drawn = Rng(KEYS[0]).integers(7, COUNT)
    assert drawn.dtype == torch.int64
    assert stats.chisquare(np.bincount(drawn.numpy(), minlength=7)).pvalue > TOO_UNLIKELY
    assert int(drawn.max()) == 6


def test_every_permutation_of_four_is_equally_likely() -> None:
    keys = fold(seed_key(0), torch.arange(24_000))
    drawn = torch.vmap(lambda key: Rng(key).permutation(4))(keys)
    number = {order: index for index, order in enumerate(itertools.permutations(range(4)))}
    counts = np.bincount([number[tuple(order)] for order in drawn.tolist()], minlength=24)
    assert stats.chisquare(counts).pvalue > TOO_UNLIKELY


def test_every_place_of_a_permutation_of_ten_gets_every_number_equally_often() -> None:
    drawn = torch.vmap(lambda key: Rng(key).permutation(10))(STEPS).numpy()
    counts = np.stack([np.bincount(column, minlength=10) for column in drawn.T])
    expected = len(drawn) / 10
    # Rows and columns add up, so 81 of the 100 are free: on average the sum of squares is 90.
    assert stats.chi2.sf(((counts - expected) ** 2 / expected).sum() * 81 / 90, 81) > TOO_UNLIKELY


def test_a_permutation_holds_each_once() -> None:
    assert list(range(1000)) == Rng(KEYS[0]).permutation(1000).sort().values.tolist()


@pytest.mark.parametrize("name", DRAWS)
def test_an_int_key_a_tensor_key_and_a_batch_of_keys_draw_the_same_bits(name: str) -> None:
    keys = torch.tensor(KEYS, dtype=torch.int64)
    for size in SIZES:
        alone = torch.stack([DRAWS[name](Rng(key), size) for key in KEYS])
        tensors = torch.stack([DRAWS[name](Rng(key), size) for key in keys])
        together = torch.vmap(lambda key, size=size: DRAWS[name](Rng(key), size))(keys)
        assert torch.equal(alone, tensors)
        assert torch.equal(alone, together)


@pytest.mark.parametrize("data", [0, 1, 12345, 2**62, -1, "a name", "", "batch"])
def test_fold_is_the_same_for_ints_and_tensors(data: int | str) -> None:
    for key in (0, 1, -1, KEYS[0], KEYS[3], 2**63 - 1, -(2**63)):
        expected = fold(key, data)
        assert expected == int(fold(torch.tensor(key), data))
        if isinstance(data, int):
            assert expected == int(fold(key, torch.tensor(data)))
            assert expected == int(fold(torch.tensor(key), torch.tensor(data)))


def test_folds_of_names_and_numbers_do_not_collide() -> None:
    words = ["order", "step", "torch", "network", "prepare", "l1", "l2", "dropout", "mixup", "shift"]
    keys = [fold(seed_key(seed), data) for seed in range(50) for data in [*words, *range(1000)]]
    assert len(keys) == len(set(keys))


def test_draws_of_one_rng_differ_and_equal_rngs_agree() -> None:
    first, second = Rng(KEYS[0]), Rng(KEYS[0])
    one, two = first.uniform(100), first.uniform(100)
    assert not torch.equal(one, two)
    assert torch.equal(one, second.uniform(100))
    assert torch.equal(two, second.uniform(100))


def test_names_split_off_make_a_path_in_which_order_counts() -> None:
    paths = [("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", "a"), (0,), (1,), (0, 1), (1, 0), ("0",), ("a", 0)]
    keys = {seed_key(seed) for seed in range(3)}
    for start in (0, 1, *KEYS):
        for path in paths:
            rng = Rng(start)
            for name in path:
                rng = rng.split(name)
            assert rng.key not in keys
            keys.add(rng.key)
    assert len(keys) == 3 + (2 + len(KEYS)) * len(paths)


def test_a_path_from_one_seed_does_not_meet_the_path_of_another() -> None:
    keys = [Rng(seed_key(seed)).split(name).key for seed in range(200) for name in range(200)]
    assert len(keys) == len(set(keys))


def test_the_key_of_a_generator_draws_what_it_draws() -> None:
    rng = Rng(KEYS[0]).split("a").split("b")
    assert torch.equal(Rng(rng.key).uniform(9), rng.uniform(9))
    assert torch.equal(Rng(rng.key).uniform(9), Rng(int(rng.key)).uniform(9))  # drawing leaves the key as it was


def test_splitting_does_not_change_the_draws_of_the_parent() -> None:
    first, second = Rng(KEYS[0]), Rng(KEYS[0])
    first.split("a").uniform(10)
    assert torch.equal(first.uniform(10), second.uniform(10))


def test_shapes_and_types() -> None:
    rng = Rng(KEYS[0])
    assert rng.uniform(2, 3).shape == (2, 3)
    assert rng.uniform().shape == ()
    assert rng.normal(3, 1, 5).shape == (3, 1, 5)
    assert rng.normal(0, 4).shape == (0, 4)
    assert {torch.float32} == {rng.uniform(3).dtype, rng.normal(3).dtype, rng.symmetric_beta(1.0, 3).dtype}


def test_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    Rng(KEYS[0]).normal(100)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("draw", ["uniform", "normal", "bernoulli in floats", "symmetric_beta", "integers"])
def test_the_bits_do_not_depend_on_threads(draw: str) -> None:
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(DRAWS[draw](Rng(KEYS[0]), 300_001))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", DRAWS)
def test_the_bits_do_not_depend_on_what_surrounds_the_draw(name: str) -> None:
    expected = DRAWS[name](Rng(KEYS[0]), 33)
    with torch.inference_mode():
        assert torch.equal(expected, DRAWS[name](Rng(torch.tensor(KEYS[0])), 33))
    seen = []

    def inside(x: torch.Tensor) -> torch.Tensor:
        drawn = DRAWS[name](Rng(KEYS[0]), 33)
        seen.append(drawn.clone())
        return (x * drawn).sum()

    slope = torch.func.grad(inside)(torch.ones(33))
    assert torch.equal(slope, expected.to(torch.float32))
    torch.set_default_dtype(torch.float64)
    try:
        found = DRAWS[name](Rng(KEYS[0]), 33)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
    assert torch.equal(DRAWS[name](Rng(KEYS[0]), 33), expected)  # and nothing of it stays


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["uniform", "bernoulli", "bernoulli in floats", "integers", "permutation", "split"])
def test_a_gpu_draws_the_same_bits(name: str) -> None:
    for size in (*SIZES, 20_000):
        expected = DRAWS[name](Rng(KEYS[0]), size)
        for key in (KEYS[0], torch.tensor(KEYS[0], device="cuda")):
            assert torch.equal(expected, DRAWS[name](Rng(key, "cuda"), size).cpu())


@pytest.mark.parametrize("count", [0, 1, 7, 1000, 5000])
def test_a_permutation_is_the_same_alone_and_among_others(count: int) -> None:
    keys = torch.as_tensor(fold(fold(torch.arange(3), "order"), 4))
    many = permutations(keys, count)
    assert torch.equal(many.sort(-1).values, torch.arange(count).expand(3, -1))
    assert torch.equal(torch.vmap(lambda key: Rng(key).permutation(count))(keys), many)
    for key, order in zip(keys.tolist(), many, strict=True):
        assert torch.equal(Rng(key).permutation(count), order)
