"""Run study files as they stand and note what they found of the published claims.

    python examples/studies/measure.py                     all that need no GPU: half an hour on one core
    python examples/studies/measure.py goodfellow sam      these two

Writes measured.csv beside this file and docs/reference.md from it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from robustreg.reference import judge, measured, page, ties, write_measured

LOST_RUNS = 1  # the study is complete, but some runs diverged or failed: their seeds are left out
FOLDER = Path(__file__).parent
DOCS = FOLDER.parents[1] / "docs" / "reference.md"


def main(names: Sequence[str]) -> None:
    """Run the studies named, one after the other."""
    for name in names or sorted(path.stem for path in FOLDER.glob("*.toml") if not path.stem.startswith("gpu")):
        file = FOLDER / f"{name}.toml"
        with tempfile.TemporaryDirectory() as out:
            options = ["--json", "--no-figures", "--engine", "serial", "--out", out]
            command = [sys.executable, "-m", "robustreg", "compare", "-f", str(file), *options]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            if done.returncode > LOST_RUNS:
                sys.exit(done.returncode)
            study = json.loads(done.stdout)
        write_measured(FOLDER, [measured(name, tie, judge(tie, study)) for tie in ties(file)])
        DOCS.write_text(page(FOLDER), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
