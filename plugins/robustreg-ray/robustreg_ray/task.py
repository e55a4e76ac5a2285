"""A task as a worker process of Ray does it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from robustreg.engines import Work
from robustreg.engines.elsewhere import one_thread, packed, quiet

_unpacked: dict[str, Work] = {}  # the work of this process, which does many tasks of it


def do(key: str, parcel: list[Any], content: bytes, where: str) -> Iterator[tuple[str, Any]]:
    """Do a task: yield "began" with whether the work is at hand, "ready" once it is where it was not, each "result" as
    bytes, and at the end "over" with the packed error, if there was one.

    Args:
        key: of the work.
        parcel: where it can be fetched; in a list, since Ray would fetch a bare reference for every task.
        content: the pickled arguments of the task.
        where: the folder of the command, from which paths of data may start; not every machine has to have it.
    """
    quiet()
    one_thread()
    with suppress(OSError):
        os.chdir(where)
    yield "began", key in _unpacked
    try:
        work, arguments = _work(key, parcel), pickle.loads(content)
        yield "ready", None
        for result in work(lambda value: None, *arguments):
            yield "result", pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    except GeneratorExit:
        raise
    except BaseException as error:  # a plugin must not end the worker
        yield "over", pickle.dumps(packed(error))
    else:
        yield "over", b""


def _work(key: str, parcel: list[Any]) -> Work:
    if key not in _unpacked:
        import ray

        _unpacked.clear()
        _unpacked[key] = pickle.loads(ray.get(parcel[0]))
        one_thread()  # of torch, which may have come with it
    return _unpacked[key]
