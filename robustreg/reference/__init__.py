"""What papers printed: their tables as rows with source, the claims that follow, and whether a study agrees."""

from .claims import Claim, claims
from .judge import Finding, Tie, arm_named, judge, ties
from .measured import Measured, measured, read_measured, write_measured
from .page import page
from .rows import EVIDENCE, Row, load, tables

__all__ = [
    "EVIDENCE",
    "Claim",
    "Finding",
    "Measured",
    "Row",
    "Tie",
    "arm_named",
    "claims",
    "judge",
    "load",
    "measured",
    "page",
    "read_measured",
    "tables",
    "ties",
    "write_measured",
]
