"""`python -m robustreg` is `robustreg`."""

from .cli import main

main()
