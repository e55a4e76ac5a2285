"""What rich would print, as text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def captured(what: RenderableType, width: int) -> str:
    """Return what is printed at this width, without colours, blanks at the ends of lines or empty lines around it."""
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,  # or a notebook would show it and leave nothing to return
        legacy_windows=False,
    )
    with console.capture() as found:
        console.print(what)
    return "\n".join(line.rstrip() for line in found.get().splitlines()).strip("\n")
