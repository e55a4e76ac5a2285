"""Tuning: search the strengths of every arm within one budget, select on validation, test once."""

from .axis import Axis
from .result import Final, Tuning
from .samplers import SAMPLERS
from .search import Search, make_search
from .space import Space
from .table import print_tables, tables_text
from .trial import Trial
from .tuner import run_search, tune
from .write import set_aside, write_tuning

__all__ = [
    "SAMPLERS",
    "Axis",
    "Final",
    "Search",
    "Space",
    "Trial",
    "Tuning",
    "make_search",
    "print_tables",
    "run_search",
    "set_aside",
    "tables_text",
    "tune",
    "write_tuning",
]
