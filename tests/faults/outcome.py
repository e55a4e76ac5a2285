"""What one kind of injection came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """A row of the scorecard.

    Attributes:
        row: its number there.
        injected: what was done to studies, in words.
        count: how often.
        wrong: a sentence for every time that something did not hold.
        numbers: what else was counted or measured, by name.
    """

    row: int
    injected: str
    count: int = 0
    wrong: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    def check(self, holds: bool, sentence: str) -> None:
        """Take note of something that has to hold."""
        if not holds:
            self.wrong.append(sentence)

    def add(self, name: str, value: float) -> None:
        """Add to a number."""
        self.numbers[name] = self.numbers.get(name, 0) + value

    def most(self, name: str, value: float) -> None:
        """Keep the largest of these numbers, to a hundredth."""
        self.numbers[name] = max(self.numbers.get(name, 0.0), round(value, 2))

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:g}" for name, value in self.numbers.items())
        state = f"{len(self.wrong)} WRONG" if self.wrong else "all held"
        lines = [
            f"row {self.row}: {self.injected}: {self.count} injected, {state}" + (f" ({numbers})" if numbers else "")
        ]
        return "\n".join([*lines, *(f"    {sentence}" for sentence in self.wrong[:10])])
