"""What a process that works for another sees to, and how an error gets from one to the other. Free of torch."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from .. import errors


def one_thread() -> None:
    """Let torch compute with one thread: threads that a forked parent had are not here, and tasks share out cores.

    To be called again after what imports torch.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def quiet() -> None:
    """Send what is printed to standard error: standard output belongs to the data of the parent.

    Both streams are new ones, since those of a forked parent may be drawing progress, and locked for it, just now.
    """
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115


def interpreter() -> list[str]:
    """Return the command of another Python that looks for modules where this one does.

    `python -m` also looks in the current folder, and before anywhere else. That may be anybody's: a study's, say.
    """
    try:
        looks_here = any(os.path.abspath(entry) == os.getcwd() for entry in sys.path)
    except OSError:  # the current folder is gone
        looks_here = False
    return [sys.executable] if looks_here else [sys.executable, "-P"]


def kind_of(error: BaseException) -> str:
    """Return the name of an error's class; of an error of robustreg, that of the class of `errors` it belongs to."""
    known = (kind.__name__ for kind in type(error).__mro__ if vars(errors).get(kind.__name__) is kind)
    return next(known, type(error).__name__)


def packed(error: BaseException) -> tuple[str, str, str]:
    """Return the name of an error, its text, and where it came from, since an error itself may not be picklable."""
    text = errors.printable(str(error))
    return kind_of(error), text, "".join(traceback.format_exception(error))


def unpacked(name: str, text: str, where: str) -> BaseException:
    """Return the error that was packed: one of robustreg of its class, any other as a RuntimeError that names it."""
    if name == KeyboardInterrupt.__name__:
        return KeyboardInterrupt(text)
    kind = vars(errors).get(name)
    if isinstance(kind, type) and issubclass(kind, errors.RobustregError):
        return kind(text)
    error = RuntimeError(f"{name} in a worker process: {text}")
    error.add_note(where)
    return error
