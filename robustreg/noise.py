"""Random numbers keyed by seed, step and name.

Nothing is consumed from a stream: the same key gives the same numbers, on any device, alone or inside `vmap`. So
resuming needs no random state, adding a regularizer leaves the noise of the others untouched, and a run is the same
alone or in a cohort. A key is a 64-bit number: a Python int, or an int64 tensor (batched in a cohort).

The generator is SplitMix64 (Steele et al, Fast splittable pseudorandom number generators, 2014), used by counter.
"""

from __future__ import annotations

import math
from functools import lru_cache
from zlib import crc32

import torch
from torch import Tensor

Key = int | Tensor

_MASK = (1 << 64) - 1
_DRAW = 0x9E3779B97F4A7C15  # steps the counter of one key
_NEXT = _DRAW << 32  # from one draw to the next: far enough for the largest
_FOLD = 0xD1B54A32D192ED03  # another odd constant, so that keys folded from a key do not meet its draws
_PATH = 0x8CB92BA72F3D8DD7  # and another, so that a name split off does not meet a key folded from 0
_MULTIPLY = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _signed(value: int) -> int:
    """The int64 with the same bits as `value` modulo 2**64."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _constant(value: float) -> Tensor:
    # In a small network's step a tensor operation costs what it does, not how much; a 0-d tensor at hand is cheaper
    # than a number that torch must wrap each time.
    return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float32, device="cpu")


# torch shifts int64 arithmetically; the masks make the shifts logical.
_SHIFTS = [(_constant(shift), _constant((1 << 64 - shift) - 1)) for shift in (30, 27, 31)]
_ROUNDS = [(*shift, _constant(_signed(factor))) for shift, factor in zip(_SHIFTS[:2], _MULTIPLY, strict=True)]
_COUNTER = torch.arange(1, 4097, device="cpu") * _signed(_DRAW)  # enough for the draws of a small batch
_UNIT24, _UNIT31, _TURN = map(_constant, (2.0**-24, 2.0**-31, math.pi * 2.0**-31))
_LOW31, _HIGH32 = _constant((1 << 31) - 1), _constant(32)


def _mix_int(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MULTIPLY[0]) & _MASK
    z = ((z ^ (z >> 27)) * _MULTIPLY[1]) & _MASK
    return _signed(z ^ (z >> 31))


def _mix(z: Tensor) -> Tensor:
    """Mix `z`, a tensor that its caller has just made, in place."""
    for shift, logical, factor in _ROUNDS:
        z ^= (z >> shift).bitwise_and_(logical)
        z *= factor
    shift, logical = _SHIFTS[2]
    z ^= (z >> shift).bitwise_and_(logical)
    return z


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


@lru_cache(2048)  # the same few names in every step
def _below(path: int, name: int | str) -> int:
    return int(fold(path + _PATH, name))


def permutations(keys: Tensor, count: int) -> Tensor:
    """Return what `Rng(key).permutation(count)` is for each of some keys, int64 `(n,)`: `(n, count)`."""
    bits = _mix(_counter(count, keys.device) + keys.unsqueeze(-1))
    # numpy sorts in a fifth of the time that torch takes, but not inside torch.vmap or torch.func.grad.
    return torch.from_numpy(bits.numpy().argsort(-1)) if keys.device.type == "cpu" else bits.argsort(-1)


def _counter(count: int, device: torch.device | str) -> Tensor:
    if count <= len(_COUNTER) and torch.device(device).type == "cpu":
        return _COUNTER[:count]
    return torch.arange(1, count + 1, device=device) * _signed(_DRAW)


class Rng:
    """Numbers drawn from one key. Two draws from one `Rng` differ; two equal `Rng` draw the same.

    Until something is drawn it costs no tensor operation, however often it is split: names are kept as a hash, a
    Python int, and each draw adds it to the key.

    Args:
        key: int or int64 tensor.
        device: where the numbers are made; the CPU when None.
    """

    def __init__(self, key: Key, device: torch.device | str | None = None) -> None:
        self.device = "cpu" if device is None else device
        self._root = key
        self._path = 0  # of the names split off so far
        self._draws = 0

    @property
    def key(self) -> Key:
        """The key of the draws: `Rng(rng.key)` draws what `rng` draws."""
        return self._at(0)

    def _at(self, offset: int) -> Key:
        offset = _signed(self._path + offset)
        if isinstance(self._root, int):
            return _signed(self._root + offset)
        return self._root + offset if offset else self._root

    def split(self, name: int | str | Tensor, into: Rng | None = None) -> Rng:
        """Return an independent generator for `name`; the draws of this one do not change.

        Args:
            name: equal names give equal generators.
            into: one that nobody uses any more, to be made this one where it can: quicker than making another.
        """
        if isinstance(name, Tensor):
            return Rng(fold(self.key, name), self.device)
        if into is None or not isinstance(self._root, int):  # a tensor is not kept for longer than its step
            into = Rng(self._root, self.device)
        else:
            into.device, into._root, into._draws = self.device, self._root, 0
        into._path = _below(self._path, name)
        return into

    def _bits(self, count: int) -> Tensor:
        """64 random bits a number, int64 `(count,)`: SplitMix64 from the key, another stretch of it each draw."""
        key = self._at(self._draws * _NEXT)
        self._draws += 1
        return _mix(_counter(count, self.device) + key)

    def _parts(self, count: int, kind: torch.dtype) -> Tensor:
        """`count` random integers of 16 or 32 bits, several from one mix."""
        many = 8 // kind.itemsize
        parts = self._bits(-(-count // many)).view(kind)
        return parts[:count] if count % many else parts

    def _polar(self, count: int) -> tuple[Tensor, Tensor]:
        """The polar coordinates of `count` pairs of normals: the logarithm of a uniform, and an angle."""
        bits = self._bits(count)
        share = (bits & _LOW31).to(torch.float32).add_(0.5).mul_(_UNIT31)  # never 0, and finest there
        return share.log_(), (bits >> _HIGH32) * _TURN

    def uniform(self, *shape: int) -> Tensor:
        """Return float32 uniforms in [0, 1), multiples of 2**-24, of the given shape."""
        signed = self._parts(math.prod(shape), torch.int32) >> 8
        return (signed * _UNIT24).add_(0.5).reshape(shape)

    def normal(self, *shape: int) -> Tensor:
        """Return float32 standard normals of the given shape (Box and Muller, A note on random normals, 1958)."""
        count = math.prod(shape)
        logarithm, angle = self._polar((count + 1) // 2)
        radius = logarithm.mul_(-2).sqrt_()
        pairs = torch.cat((angle.cos().mul_(radius), angle.sin_().mul_(radius)))
        return (pairs[:count] if count % 2 else pairs).reshape(shape)

    def bernoulli(self, p: float | Tensor, *shape: int, dtype: torch.dtype = torch.bool) -> Tensor:
        """Return booleans that are True with probability `p`, to 2**-16; 0 and 1 are exact.

        With a float `dtype` they are 1 and 0, which is the faster way to a mask that something is multiplied by.
        """
        drawn = self._parts(math.prod(shape), torch.int16).reshape(shape)
        bound = p * 65536 - 32768
        if not dtype.is_floating_point:
            return (drawn < bound).to(dtype)
        # A difference of whole numbers: 1 or more is True. On a CPU a comparison takes several times as long.
        whole = bound.ceil().to(torch.float32) if isinstance(bound, Tensor) else float(math.ceil(bound))
        return (whole - drawn).clamp(0, 1).to(dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return int64 integers in [0, high) of the given shape; `high` is far below 2**48, so the bias is nil."""
        bits = self._bits(math.prod(shape))
        return (bits.bitwise_and_((1 << 48) - 1) % high).reshape(shape)

    def permutation(self, count: int) -> Tensor:
        """Return a random order of `range(count)` as int64."""
        return self._bits(count).argsort()

    def symmetric_beta(self, a: Tensor | float, *shape: int) -> Tensor:
        """Return Beta(a, a) numbers in [0, 1], a >= 0, without rejection, so that it runs inside `vmap`.

        With T of Student's t distribution with 2a degrees of freedom, (1 + T / sqrt(2a + T**2)) / 2 is Beta(a, a);
        T is made by the polar method (Bailey, Polar generation of random variates with the t-distribution, 1994).
        """
        logarithm, angle = self._polar(math.prod(shape))
        cosine = angle.cos_()
        # By functions that give a number the same bits in a tensor of any shape; never 0 / 0.
        square = torch.expm1(logarithm.clamp_max_(-(2.0**-26)) / -a).mul_(cosine).mul_(cosine)
        half = square.reciprocal_().add_(1).rsqrt_().mul_(0.5).copysign_(cosine)
        return half.add_(0.5).reshape(shape)

    def __repr__(self) -> str:
        return f"Rng(key={self.key})"
