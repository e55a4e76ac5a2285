"""Keyed random numbers: their distributions, their independence, and that a key alone decides them."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from robustreg.noise import Rng, fold, seed_key

COUNT = 200_000
KEYS = [fold(seed_key(seed), "test") for seed in range(6)]
SIZES = (1, 2, 3, 5, 8, 17, 33, 256, 1001)
TOO_UNLIKELY = 1e-4  # the keys are fixed, so a test passes always or never; this is how strange the numbers may be

DRAWS = {
    "uniform": lambda rng, n: rng.uniform(n),
    "normal": lambda rng, n: rng.normal(n),
    "bernoulli": lambda rng, n: rng.bernoulli(0.3, n),
    "bernoulli of a tensor": lambda rng, n: rng.bernoulli(torch.tensor(0.3, dtype=torch.float64), n),
    "integers": lambda rng, n: rng.integers(7, n),
    "permutation": lambda rng, n: rng.permutation(n),
    "symmetric_beta": lambda rng, n: rng.symmetric_beta(torch.tensor(0.7, dtype=torch.float64), n),
    "split": lambda rng, n: rng.split("other").uniform(n),
    "second draw": lambda rng, n: (rng.uniform(n), rng.uniform(n))[1],
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


@pytest.mark.parametrize("key", [0, 1, -1, 2**63 - 1, -(2**63), 123456789])
def test_uniform_is_splitmix64_by_counter(key: int) -> None:
    numbers = splitmix64(fold(key, 0) % 2**64, 8)
    expected = [(z >> 40) * 2.0**-24 for z in numbers] + [(z >> 16) % 2**24 * 2.0**-24 for z in numbers]
    assert expected == Rng(key).uniform(16).tolist()


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


@pytest.mark.parametrize("key", KEYS[:3])
def test_normals_are_standard_normal(key: int) -> None:
    drawn = Rng(key).normal(COUNT).numpy().astype(np.float64)
    assert stats.kstest(drawn, "norm").pvalue > TOO_UNLIKELY
    assert abs(drawn.mean()) < 5 / math.sqrt(COUNT)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / COUNT)
    assert abs(stats.kurtosis(drawn)) < 5 * math.sqrt(24 / COUNT)
    assert abs(np.corrcoef(drawn[: COUNT // 2], drawn[COUNT // 2 :])[0, 1]) < 5 / math.sqrt(COUNT / 2)


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


@pytest.mark.parametrize("p", [0.003, 0.1, 0.5, 0.9])
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
