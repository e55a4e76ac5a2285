"""Makes the stores of older schemas that tests open, each by the robustreg that wrote such stores.

python tests/stores/make.py     # in a clone with its history; overwrites tests/stores/schema-N
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LAST = {1: "130d777"}  # the last commit whose stores have this schema
STUDY = """
import robustreg as rr
rr.compare(["l2:1e-3"], data="digits:train=40,val=20,test=20", model="mlp:hidden=2", epochs=1, label_noise=[],
           seeds=2, measures="clean_accuracy", engine="serial", out={out!r})
from robustreg.study.store import Store
with Store({out!r}) as store:  # a configuration whose test images were looked at
    row = store._db.execute("SELECT id, record FROM runs ORDER BY rowid").fetchone()
    store._db.execute("INSERT INTO tested VALUES ('{{}}', 0, ?)", (row[0],))
    store._db.execute("PRAGMA journal_mode=DELETE")
"""


def main() -> None:
    """Make one store of each older schema."""
    for schema, commit in LAST.items():
        with tempfile.TemporaryDirectory() as top:
            code, out = Path(top) / "code", Path(top) / "study"
            code.mkdir()
            archive = subprocess.run(
                ["git", "archive", commit], cwd=HERE.parents[1], capture_output=True, check=True
            ).stdout
            subprocess.run(["tar", "-x", "-C", str(code)], input=archive, check=True)
            env = {**os.environ, "PYTHONPATH": str(code)}
            subprocess.run([sys.executable, "-c", STUDY.format(out=str(out))], env=env, cwd=top, check=True)
            kept = HERE / f"schema-{schema}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(out, kept)


if __name__ == "__main__":
    main()
