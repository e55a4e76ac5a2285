"""Studies: what to run, running it, keeping it, and what it says."""

from .comparison import Comparison
from .pace import Progress
from .plan import BASELINE, Plan, versions
from .planning import DEFAULT_ARMS, make_plan
from .record import Record
from .runner import compare, run_plan
from .store import Store, write_whole

__all__ = [
    "BASELINE",
    "DEFAULT_ARMS",
    "Comparison",
    "Plan",
    "Progress",
    "Record",
    "Store",
    "compare",
    "make_plan",
    "run_plan",
    "versions",
    "write_whole",
]
