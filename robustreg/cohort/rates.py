"""The learning rates of runs that are trained in one step."""

from __future__ import annotations

from collections.abc import Sequence

from ..session import Session


class Schedules:
    """The schedules of runs within an epoch: those that agree in all that decides a rate are asked once a step."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._which = [_decisive(session) for session in sessions]
        self._asked = dict(zip(self._which, sessions, strict=True))

    def rates(self, progress: float) -> list[float]:
        """Return the learning rate of each run."""
        rate = {}
        for which, session in self._asked.items():
            base = session.recipe.learning_rate
            rate[which] = base * session.objective.learning_rate(progress, base)
        return [rate[which] for which in self._which]


def _decisive(session: Session) -> str:
    members = [one for one in session.objective.regularizers.values() if hasattr(type(one), "learning_rate")]
    return str([(one.settings(), {key: value.tolist() for key, value in one.named_buffers()}) for one in members])  # type: ignore[operator]
