"""Whether the numbers of a model may be believed: flags, each a sentence with its number, one family a file."""

from .flag import Flag
from .judging import CHECKS, Trust, judge, judge_together, trust_flags

__all__ = ["CHECKS", "Flag", "Trust", "judge", "judge_together", "trust_flags"]
