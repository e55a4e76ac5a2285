"""A bench that injects faults into studies and looks at what is left: `python -m tests.faults` is its full form, and
tests/test_faults.py the short one. What it found is in docs/reliability.md."""
