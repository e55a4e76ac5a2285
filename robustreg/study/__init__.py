"""Studies: what to run, running it, keeping it, and what it says.

Names are looked up when they are asked for, so that telling how far a study is does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison
    from .folder import StudyFile, read_study
    from .pace import Progress
    from .plan import BASELINE, Plan, versions
    from .planning import DEFAULT_ARMS, make_plan
    from .record import Record
    from .request import changed, plan_again
    from .runner import compare, run_plan
    from .status import Status, status_of
    from .store import Store, write_whole

_FROM = {
    "BASELINE": "plan",
    "DEFAULT_ARMS": "planning",
    "Comparison": "comparison",
    "Plan": "plan",
    "Progress": "pace",
    "Record": "record",
    "Status": "status",
    "Store": "store",
    "StudyFile": "folder",
    "changed": "request",
    "compare": "runner",
    "make_plan": "planning",
    "plan_again": "request",
    "read_study": "folder",
    "run_plan": "runner",
    "status_of": "status",
    "versions": "plan",
    "write_whole": "store",
}

__all__ = [
    "BASELINE",
    "DEFAULT_ARMS",
    "Comparison",
    "Plan",
    "Progress",
    "Record",
    "Status",
    "Store",
    "StudyFile",
    "changed",
    "compare",
    "make_plan",
    "plan_again",
    "read_study",
    "run_plan",
    "status_of",
    "versions",
    "write_whole",
]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_FROM[name]}", __name__), name)
    return value
