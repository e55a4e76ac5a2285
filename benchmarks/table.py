"""Results as rows, written as Markdown for readers and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .measure import Spread

Cell = str | int | float | bool | None | Spread


@dataclass
class Table:
    """What one benchmark found: rows of named cells, and sentences.

    Attributes:
        name: of the benchmark.
        title: what is compared with what.
        rows: one a case; a cell may be a `Spread`.
        notes: what is included, what was left out, where the time goes.
    """

    name: str
    title: str
    rows: list[dict[str, Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **cells: Cell) -> None:
        """Append a row."""
        self.rows.append(cells)

    def markdown(self) -> str:
        """Return a heading, a table and the notes."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = [f"## {self.title}", ""]
        if self.rows:
            heads = [name.replace("_", " ") for name in columns]
            lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(shown(row.get(name)) for name in columns) + " |" for row in self.rows]
            lines.append("")
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def plain(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        rows = [
            {name: vars(cell) if isinstance(cell, Spread) else cell for name, cell in row.items()} for row in self.rows
        ]
        return {"name": self.name, "title": self.title, "rows": rows, "notes": self.notes}


def shown(cell: Cell) -> str:
    """Return a cell as a reader wants it: three digits, and a spread as median and range."""
    if cell is None:
        return ""
    if isinstance(cell, Spread):
        return f"**{digits(cell.median)}** ({digits(cell.low)}..{digits(cell.high)})"
    return digits(cell) if isinstance(cell, float) else str(cell)


def digits(value: float) -> str:
    """Return a number with three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(folder: Path, about: Mapping[str, Any], tables: list[Table]) -> tuple[Path, Path]:
    """Write `results.md` and `results.json` into `folder` and return their paths."""
    lines = ["# Benchmarks", "", *(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()), ""]
    lines += ["Ratios are medians over rounds in which the sides took turns, with the smallest and the largest.", ""]
    found = folder / "results.md", folder / "results.json"
    found[0].write_text("\n".join(lines) + "\n" + "\n".join(table.markdown() for table in tables))
    everything = {"about": dict(about), "tables": [table.plain() for table in tables]}
    found[1].write_text(json.dumps(everything, indent=1) + "\n")
    return found
