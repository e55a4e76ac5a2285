"""Random numbers keyed by seed, step and name.

Nothing is consumed from a stream: the same key gives the same numbers, on any device, alone or inside `vmap`. So
resuming needs no random state, adding a regularizer leaves the noise of the others untouched, and a run is the same
alone or in a cohort. A key is a 64-bit number: a Python int, or an int64 tensor (batched in a cohort).

The generator is SplitMix64 (Steele et al, Fast splittable pseudorandom number generators, 2014), used by counter.
"""

from __future__ import annotations

import math
from zlib import crc32

import torch
from torch import Tensor

Key = int | Tensor

_MASK = (1 << 64) - 1
_DRAW = 0x9E3779B97F4A7C15  # steps the counter of one key
_FOLD = 0xD1B54A32D192ED03  # another odd constant, so that keys folded from a key never meet its draws
_MULTIPLY = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _signed(value: int) -> int:
    """The int64 with the same bits as `value` modulo 2**64."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MULTIPLY[0]) & _MASK
    z = ((z ^ (z >> 27)) * _MULTIPLY[1]) & _MASK
    return _signed(z ^ (z >> 31))


def _mix(z: Tensor) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes the shifts logical.
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _signed(_MULTIPLY[0])
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _signed(_MULTIPLY[1])
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def fold(key: Key, data: int | str | Tensor) -> Key:
    """Return the key of `data` (a step, a sample index, a name) below `key`.

    Args:
        key: an int, or an int64 tensor of any shape.
        data: an int, a name, or an int64 tensor; tensors broadcast against `key`.
    """
    number = crc32(data.encode()) + (1 << 32) if isinstance(data, str) else data
    # Python's integers do not wrap around as a tensor's do, so they are wrapped before they meet one.
    step = _signed(_FOLD * (number + 1)) if isinstance(number, int) else _signed(_FOLD) * (number + 1)
    total = (_signed(key) if isinstance(key, int) else key) + step
    return _mix_int(total & _MASK) if isinstance(total, int) else _mix(total)


def seed_key(seed: int | Tensor) -> Key:
    """Return the key that everything random in the run with this seed is derived from."""
    return fold(0, seed)


class Rng:
    """Numbers drawn from one key. Two draws from one `Rng` differ; two equal `Rng` draw the same.

    Args:
        key: int or int64 tensor.
        device: where the numbers are made.
    """

    def __init__(self, key: Key, device: torch.device | str | None = None) -> None:
        self.key = key
        self.device = device
        self._draws = 0

    def split(self, name: int | str | Tensor) -> Rng:
        """Return an independent generator for `name`; the draws of this one do not change."""
        return Rng(fold(self.key, name), self.device)

    def _bits(self, count: int) -> Tensor:
        key = fold(self.key, self._draws)
        self._draws += 1
        counter = torch.arange(1, count + 1, device=self.device) * _signed(_DRAW)
        return _mix(counter + key)

    def uniform(self, *shape: int) -> Tensor:
        """Return float32 uniforms in [0, 1), multiples of 2**-24, of the given shape."""
        count = math.prod(shape)
        bits = self._bits((count + 1) // 2)  # two 24-bit numbers from one mix
        pair = torch.stack((bits >> 40, bits >> 16)) & ((1 << 24) - 1)
        return (pair.flatten()[:count] * 2.0**-24).reshape(shape)

    def normal(self, *shape: int) -> Tensor:
        """Return float32 standard normals of the given shape (Box and Muller, A note on random normals, 1958)."""
        count = math.prod(shape)
        bits = self._bits((count + 1) // 2)
        low = (1 << 32) - 1
        radius = (-2.0 * torch.log((((bits >> 32) & low) + 0.5) * 2.0**-32)).sqrt()
        angle = (bits & low) * (2.0 * math.pi * 2.0**-32)
        pair = torch.stack((radius * angle.cos(), radius * angle.sin()))
        return pair.flatten()[:count].reshape(shape)

    def bernoulli(self, p: float | Tensor, *shape: int) -> Tensor:
        """Return booleans that are True with probability `p`, to 2**-16; 0 and 1 are exact."""
        count = math.prod(shape)
        bits = self._bits((count + 3) // 4)  # four 16-bit numbers from one mix
        four = torch.stack((bits >> 48, bits >> 32, bits >> 16, bits)) & 0xFFFF
        return (four.flatten()[:count] < p * 65536).reshape(shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return int64 integers in [0, high) of the given shape; `high` is far below 2**48, so the bias is nil."""
        bits = self._bits(math.prod(shape))
        return ((bits & ((1 << 48) - 1)) % high).reshape(shape)

    def permutation(self, count: int) -> Tensor:
        """Return a random order of `range(count)` as int64."""
        return self._bits(count).argsort()

    def symmetric_beta(self, a: Tensor | float, *shape: int) -> Tensor:
        """Return Beta(a, a) numbers in [0, 1], a >= 0, without rejection, so that it runs inside `vmap`.

        With T of Student's t distribution with 2a degrees of freedom, (1 + T / sqrt(2a + T**2)) / 2 is Beta(a, a);
        T is made by the polar method (Bailey, Polar generation of random variates with the t-distribution, 1994).
        """
        first, second = 1 - self.uniform(*shape), self.uniform(*shape)
        cosine = torch.cos(2 * math.pi * second)
        # first**(-1 / a) - 1, by functions that give a number the same bits in a tensor of any shape; never 0 / 0.
        square = torch.expm1((-first.log()).clamp_min(2.0**-26) / a) * cosine * cosine
        return 0.5 + 0.5 * cosine.sign() / (1 + 1 / square).sqrt()

    def __repr__(self) -> str:
        return f"Rng(key={self.key})"
