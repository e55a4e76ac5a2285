"""The laws a regularizer keeps, for the authors of plugins: `check(MyRegularizer)`."""

from .laws import LAWS
from .runner import check, parametrize

__all__ = ["LAWS", "check", "parametrize"]
