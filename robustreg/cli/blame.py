"""What an error that nobody expected is to a user: whose code it came from, and where, as one message."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from .. import hookspecs
from ..errors import PluginError, RobustregError, StoreError, UsageError, printable

ROOM = Path(__file__).parent.parent
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def blamed(error: BaseException) -> RobustregError:
    """Return the error of robustreg that says what happened, with the exit code of whoever has to mend it.

    Those are the plugin (4) or the code that the user named (2) whose line was at work last, below robustreg; a place
    that may not be written to (5), and else robustreg itself (1), with all its lines, so that it can be reported.
    """
    if isinstance(error, RobustregError):
        return error
    said = f"{type(error).__name__}: {printable(str(error))}".removesuffix(": ")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return RobustregError(f"there is not enough memory: {said}; take fewer images, or a smaller network or batch")
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module not in _known() and not frame.f_code.co_filename.startswith("<"):
            where = f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name}"
            plugin = _plugin_of(module)
            if plugin:
                return PluginError(f"plugin {plugin} failed: {said} ({where})")
            return UsageError(f"the code of {module} failed: {said} ({where})")
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
        return StoreError(f"{text}; choose another place") if error.errno in DENIED else RobustregError(text)
    ours = [(Path(frame.f_code.co_filename), line) for frame, line in frames]
    lines = [f"{path.relative_to(ROOM)}:{line}" for path, line in ours if path.is_relative_to(ROOM)]
    return RobustregError(
        f"robustreg made a mistake: {said}. Please report it, with what robustreg doctor prints and where it was:"
        f" {' > '.join(lines) or 'nowhere'}"
    )


def _known() -> set[str]:
    """The names of the modules that are robustreg's, Python's, or of what robustreg is built on."""
    needed: set[str] = set()
    with suppress(metadata.PackageNotFoundError):
        needed = {re.split(r"[^\w.-]", text)[0] for text in metadata.requires("robustreg") or ()}
    return {"robustreg", "PIL", "runpy", "__main__", *needed, *sys.stdlib_module_names}


def _plugin_of(module: str) -> str:
    """The plugin that a module belongs to, with its distribution; empty where it belongs to none."""
    for entry in metadata.entry_points(group=hookspecs.PROJECT):
        if entry.module.partition(".")[0] == module:
            dist = f" ({entry.dist.name} {entry.dist.version})" if entry.dist is not None else ""
            return f"{entry.name}{dist}"
    return ""
