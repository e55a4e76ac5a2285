"""What a plugin offers as an attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from ..threat import NORMS


@dataclass(frozen=True)
class Attack:
    """A named attack.

    Args:
        name: lower-case word, unique among the installed attacks.
        run: `run(model, x, y, *, eps, norm, seed, samples, **settings)` from clean images `(n, *shape)` in [0, 1] and
            int64 labels to images of the same shape inside the threat model. A pure function: it leaves no trace in
            the model, and what it does to a sample does not depend on the others (`in_batches` sees to most of that).
        about: one sentence.
        weak: True when surviving it says little, so that it never judges alone.
        norms: the threat models it knows.
        settings: further keyword arguments of `run`.
        together: True when `run` asks about its points through `attacked` or `in_batches` alone, and takes
            `batch_size`: such an attack may be handed the points of many models at once, each with its own seed.
    """

    name: str
    run: Callable[..., Tensor]
    about: str
    weak: bool = False
    norms: tuple[str, ...] = NORMS
    settings: Mapping[str, Any] = field(default_factory=dict)
    together: bool = False

    def with_settings(self, name: str | None = None, **settings: Any) -> Attack:
        """Return the attack with other settings, and with another name to tell it by."""
        return replace(self, name=name or self.name, settings={**self.settings, **settings})

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        eps: float,
        norm: str,
        seed: int | Tensor,
        samples: Tensor,
        **further: Any,
    ) -> Tensor:
        """Return the adversarial images of `x`; `further` are keyword arguments of `run` that settings overrule."""
        known = {"eps": eps, "norm": norm, "seed": seed, "samples": samples}
        return self.run(model, x, y, **known, **{**further, **self.settings})
