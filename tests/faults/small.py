"""A study that takes a fraction of a second, and what is on disk of one."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARMS = ["none", "l2:1e-3"]
SETTINGS = ["--data", "digits:train=40,val=20,test=20", "--model", "mlp:hidden=8", "--seeds", "2", "--epochs", "2",
            "--label-noise", "0.5", "--eps", "0.1", "--headline-eps", "0.1",
            "--measures", "clean_accuracy,robust_accuracy", "--no-figures", "--device", "cpu"]  # fmt: skip
RUNS = 2 * 2 * 2
HOW = {"training_seconds", "trust_seconds", "seconds", "cohort"}  # it was done; all else is what came out


def command(folder: Path, engine: str = "serial", arms: list[str] | None = None) -> list[str]:
    """Return the command that does the small study."""
    return ["compare", *(arms or ARMS), *SETTINGS, "--engine", engine, "--out", str(folder)]


@dataclass(frozen=True)
class State:
    """A study's folder.

    Attributes:
        results: `results.json` without what tells how it was done (seconds, how many runs shared a step); empty when
            there is none.
        models: the bytes of each model file by name.
        finished: when each run was kept, by identity.
        partial: files that are only half written.
        sound: what SQLite says of its file; "ok" is good.
    """

    results: str
    models: dict[str, bytes]
    finished: dict[str, float]
    partial: list[str]
    sound: str


def state(folder: Path) -> State:
    """Read a study's folder."""
    results = folder / "results.json"
    models = {path.name: path.read_bytes() for path in folder.glob("models/*.safetensors")}
    partial = sorted(path.name for path in folder.rglob("*.partial"))
    finished, sound = _rows(folder / "study.db")
    return State(_timeless(results.read_text()) if results.exists() else "", models, finished, partial, sound)


def _rows(path: Path) -> tuple[dict[str, float], str]:
    if not path.exists():
        return {}, "ok"
    db = sqlite3.connect(path)
    try:
        sound = str(db.execute("PRAGMA integrity_check").fetchone()[0])
        return dict(db.execute("SELECT id, finished FROM runs").fetchall()), sound
    except sqlite3.OperationalError as error:  # killed before there was a table
        if "no such table" not in str(error):
            raise
        return {}, "ok"
    finally:
        db.close()


def _timeless(text: str) -> str:
    """The document with 0 for everything that tells how it was done, and all else, order and digits included, as is."""

    def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: 0 if key in HOW else value for key, value in pairs}

    return json.dumps(json.loads(text, object_pairs_hook=plain, parse_float=str, parse_int=str))
