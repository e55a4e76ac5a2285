"""Run the laws on a regularizer and say which it keeps."""

from __future__ import annotations

from collections.abc import Iterable
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


def parametrize(*classes: type[Regularizer] | Iterable[type[Regularizer]]) -> Any:
    """Return a decorator that makes pytest run a test for every class and law, as `test(row)`.

    `row` is a row of `check`: the test is `assert row["status"] != "failed", row["message"]`.
    """
    import pytest

    found = [one for item in classes for one in ([item] if isinstance(item, type) else item)]
    rows = [pytest.param(row, id=f"{one.name}-{row['check']}") for one in found for row in check(one)]
    return pytest.mark.parametrize("row", rows)
