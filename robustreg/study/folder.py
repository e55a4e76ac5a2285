"""`study.json`: what a study is, and what is needed to go on with it or to report it, beside its store."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError, UsageError
from .disk import check_confined
from .protocol import PROTOCOLS

NAME = "study.json"
FORMAT = 1
LARGEST = 2**28  # bytes of such a file; that of a million runs is smaller


@dataclass(frozen=True)
class StudyFile:
    """A planned study as plain values.

    Attributes:
        study: what was run (`Plan.describe`).
        arms: names, the baseline first.
        measures: names, and whether higher is better (None: neither).
        runs: arm, seed, label condition and identity of every run, in the order of the plan.
        request: what the study is planned from again, see `request`; None where that cannot be said in text.
        unnamed: why it cannot.
    """

    study: dict[str, Any]
    arms: list[str]
    measures: dict[str, bool | None]
    runs: list[tuple[str, int, str, str]]
    request: dict[str, Any] | None
    unnamed: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the content of the file: one line a run."""
        head = {key: value for key, value in vars(self).items() if key != "runs"} | {"format": FORMAT}
        rows = ",\n".join(json.dumps(run) for run in self.runs)
        return f'{json.dumps(head, indent=1)[:-2]},\n "runs": [\n{rows}\n ]\n}}\n'.encode()


def read_study(folder: str | Path) -> StudyFile:
    """Return what `study.json` of a folder says; nothing in it is trusted, imported or followed.

    Raises:
        UsageError: for a folder that holds no study.
        StoreError: for a file that is damaged, or written by a newer version.
    """
    home = Path(folder)
    check_confined(home)
    path = home / NAME
    try:
        if path.stat().st_size > LARGEST:
            raise StoreError(f"{path} is damaged: it has {path.stat().st_size:,} bytes")
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} holds no study: there is no {NAME} in it; expected the folder of a study") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {error}; {_REMEDY}") from error
    if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise StoreError(f"{path} was written by a newer robustreg (format {found['format']}); update robustreg")
    try:
        return _checked(found)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{path} is damaged: {what}; {_REMEDY}") from error


_REMEDY = "finished runs are in the store: start the command that made the study again, and it goes on"


def _checked(found: Any) -> StudyFile:
    _expect(found, dict, "it")
    _printable(found)
    study, request = found["study"], found["request"]
    for key, check in _STUDY.items():
        check(study[key], f"study.{key}")
    if study["protocol"] not in PROTOCOLS:
        raise ValueError(f"there is no protocol {study['protocol']!r}")
    _texts(found["arms"], "arms")
    _texts(found["unnamed"], "unnamed")
    if not found["arms"] or not study["seeds"]:
        raise ValueError("it has no arms or no seeds")
    _expect(found["measures"], dict, "measures")
    if not all(value is None or isinstance(value, bool) for value in found["measures"].values()):
        raise ValueError("measures must be true, false or null")
    arms, seeds, conditions = set(found["arms"]), set(study["seeds"]), set(study["label_conditions"])
    for run in _expect(found["runs"], list, "runs"):
        arm, seed, condition, identity = _expect(run, list, "a run")
        if not (arm in arms and seed in seeds and condition in conditions and isinstance(identity, str)):
            raise ValueError(f"the run {run!r:.100} is not of this study")
    if request is not None:
        for key, check in _REQUEST.items():
            check(request[key], f"request.{key}")
        _seconds(request.setdefault("run_seconds", 0.0), "request.run_seconds")  # not in older files
    runs = [tuple(run) for run in found["runs"]]
    return StudyFile(study, found["arms"], found["measures"], runs, request, tuple(found["unnamed"]))


def _expect(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} is {value!r:.60}")
    return value


def _printable(value: Any) -> None:
    # What a terminal or a spreadsheet is shown must not hold control characters.
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"it has the text {value!r:.60}")
    if isinstance(value, Mapping):
        for each in value:
            _printable(each)
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        for each in value.values() if isinstance(value, Mapping) else value:
            _printable(each)


def _of(kind: type | tuple[type, ...]) -> Callable[[Any, str], None]:
    return lambda value, name: _expect(value, kind, name) and None


def _list_of(kind: type | tuple[type, ...]) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        for each in _expect(value, list, name):
            _expect(each, kind, name)

    return check


def _number(value: Any, name: str) -> None:
    try:
        known = math.isfinite(float(_expect(value, (int, float), name)))
    except OverflowError:
        known = False
    if not known:
        raise ValueError(f"{name} is no number that can be used: {str(value)[:40]}")


def _seconds(value: Any, name: str) -> None:
    _number(value, name)
    if value < 0:
        raise ValueError(f"{name} is {value}")


def _numbers(value: Any, name: str) -> None:
    for each in _expect(value, list, name):
        _number(each, name)


def _device(value: Any, name: str) -> None:
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", _expect(value, str, name)):
        raise ValueError(f"{name} is {value!r:.60}")


def _fields(checks: Mapping[str, Callable[[Any, str], None]]) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        _expect(value, dict, name)
        if value.keys() != checks.keys():
            raise ValueError(f"{name} must have {', '.join(checks)}")
        for key, each in checks.items():
            each(value[key], f"{name}.{key}")

    return check


def _conditions(value: Any, name: str) -> None:
    for each in _expect(value, list, name):
        _condition(each, name)


def _texts_or_none(value: Any, name: str) -> None:
    if value is not None:
        _texts(value, name)


_texts = _list_of(str)
_condition = _fields(
    {"rate": _number, "mode": _of(str), "images": _of((int, type(None))), "epochs": _of(int)},
)
_recipe = _fields(
    {
        **dict.fromkeys(("epochs", "batch_size"), _of(int)),
        "optimizer": _of(str),
        **dict.fromkeys(("learning_rate", "momentum", "weight_decay"), _number),
        "shuffle": _of(bool),
    }
)
_STUDY: dict[str, Callable[[Any, str], None]] = {
    **dict.fromkeys(("name", "data", "model", "norm", "protocol", "device"), _of(str)),
    **dict.fromkeys(("parameters", "epochs", "train_images", "test_images"), _of(int)),
    **dict.fromkeys(("recipe", "versions", "split_hashes"), _of(dict)),
    **dict.fromkeys(("label_conditions", "classes", "attacks", "notes"), _texts),
    "random_labels": _list_of(dict),
    "measures": _texts_or_none,
    "seeds": _list_of(int),
    "eps": _numbers,
    "headline_eps": _number,
}
_REQUEST: dict[str, Callable[[Any, str], None]] = {
    **dict.fromkeys(("data", "model", "norm", "protocol"), _of(str)),
    "strangers_measures": _of(dict),
    "device": _device,
    "recipe": _recipe,
    "conditions": _conditions,
    "arms": _texts,
    "seeds": _list_of(int),
    "eps": _numbers,
    "headline_eps": _number,
    "measures": _texts_or_none,
    "stacked": _of((bool, type(None))),
}
