"""Run the laws on a regularizer and say which it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from ..regularizer import Regularizer
from .bench import Bench, Broken, NotTested
from .laws import LAWS


def check(regularizer: type[Regularizer], **knobs: Any) -> list[dict[str, str]]:
    """Return one row a law for a class of regularizers, in about a second; nothing is raised for a broken law.

    Args:
        regularizer: the class, not an instance.
        **knobs: its settings in the checks, `strength` included; the declared defaults otherwise.

    Returns:
        rows `{"check": name of the law, "status": "passed" | "failed" | "skipped", "message": what was seen}`.
    """
    rows: list[dict[str, str]] = []
    bench = Bench(regularizer, knobs)
    for name in LAWS:
        if rows and rows[0]["status"] == "failed":
            rows.append({"check": name, "status": "skipped", "message": f"{rows[0]['check']} failed"})
        else:
            rows.append(judge(name, bench))
    return rows


def judge(name: str, bench: Bench) -> dict[str, str]:
    """Return the row of one law; see `check`."""
    try:
        with bench.sealed():
            status, message = "passed", LAWS[name](bench)
    except NotTested as reason:
        status, message = "skipped", str(reason)
    except Broken as reason:
        status, message = "failed", str(reason)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what a plugin raises, SystemExit included, is a finding
        status, message = "failed", f"{type(error).__name__}: {error}"
    return {"check": name, "status": status, "message": message}


class Row(Mapping[str, str]):
    """The row of one law, judged when it is looked at: a test that is only collected costs nothing."""

    def __init__(self, kind: type[Regularizer], law: str) -> None:
        self.kind, self.law = kind, law

    @cached_property
    def _found(self) -> dict[str, str]:
        bench, first = Bench(self.kind, {}), next(iter(LAWS))
        row = judge(first, bench)
        if self.law == first:
            return row
        if row["status"] == "failed":
            return {"check": self.law, "status": "skipped", "message": f"{first} failed"}
        return judge(self.law, bench)

    def __getitem__(self, key: str) -> str:
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def parametrize(*classes: type[Regularizer] | Iterable[type[Regularizer]]) -> Any:
    """Return a decorator that makes pytest run a test for every class and law, as `test(row)`.

    `row` is as a row of `check`: the test is `assert row["status"] != "failed", row["message"]`.
    """
    import pytest

    found = [one for item in classes for one in ([item] if isinstance(item, type) else item)]
    rows = [pytest.param(Row(one, law), id=f"{one.name}-{law}") for one in found for law in LAWS]
    return pytest.mark.parametrize("row", rows)
