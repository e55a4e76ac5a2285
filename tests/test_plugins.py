"""Discovering plugins: each failure has its own message, and stops nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest

from robustreg import plugins
from robustreg.errors import UsageError
from robustreg.hookspecs import hookimpl
from robustreg.plugins import Catalogue, discover
from robustreg.regularizer import Regularizer


class Fake:
    """An entry point whose plugin is made here."""

    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.load = name, load
        self.dist = type("Distribution", (), {"name": f"robustreg-{name}", "version": "1.2"})


def offer(name: str, **members: object) -> type[Regularizer]:
    return type("Offer", (Regularizer,), {"name": name, "__doc__": "An offer.", **members})


def module(**hooks: Callable[..., Any]) -> ModuleType:
    found = ModuleType("plugin")
    for name, function in hooks.items():
        setattr(found, name, hookimpl(function))
    return found


def leave() -> object:
    raise SystemExit("not on this machine")


def not_there() -> object:
    import a_module_that_is_not_there  # type: ignore[import-not-found]

    return a_module_that_is_not_there


GOOD = Fake("good", lambda: module(regularizers=lambda: [offer("good_one"), offer("good_two")]))
BROKEN = {
    "import": (not_there, "could not be loaded: ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
    "exit": (leave, "could not be loaded: SystemExit: not on this machine"),
    "clash": (
        lambda: module(regularizers=lambda: [offer("l2")]),
        "regularizers() offers the name 'l2', which robustreg.regularizers (robustreg",
    ),
    "misspelt": (lambda: module(regularizer=lambda: [offer("lost")]), "unknown hook 'regularizer'"),
    "argument": (lambda: module(regularizers=lambda config: [offer("lost")]), "Argument(s) {'config'} are declared"),
    "nameless": (lambda: module(regularizers=lambda: [offer("")]), "which has no `name`"),
    "raises": (
        lambda: module(regularizers=lambda: 1 / 0),
        "regularizers() failed: ZeroDivisionError: division by zero",
    ),
    "leaves in a hook": (lambda: module(measures=leave), "measures() failed: SystemExit: not on this machine"),
    "nothing": (lambda: module(regularizers=lambda: None), "regularizers() failed: TypeError"),
}


def test_the_built_ins_are_offered_through_the_same_hooks() -> None:
    catalogue = discover([])
    assert catalogue.failures == []
    assert {"none", "l1", "l2", "dropout", "mixup", "early_stopping"} <= set(catalogue.offers["regularizers"])
    assert {"mlp", "cnn", "resnet18"} <= set(catalogue.offers["models"])
    assert [origin.plugin for origin in catalogue.loaded] == list(plugins.BUILT_IN)
    assert {origin.distribution for origin in catalogue.loaded} == {"robustreg"}
    assert {origin.version for origin in catalogue.loaded} == {metadata.version("robustreg")}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_named_and_the_others_work(kind: str) -> None:
    load, says = BROKEN[kind]
    without = discover([])
    catalogue = discover([Fake("bad", load), GOOD])
    (failure,) = catalogue.failures
    assert str(failure).startswith("plugin bad (robustreg-bad 1.2): ")
    assert says in failure.message
    found = set(catalogue.offers["regularizers"])
    assert found == {*without.offers["regularizers"], "good_one", "good_two"}
    assert catalogue.offers["regularizers"]["l2"] is without.offers["regularizers"]["l2"]


def test_every_failure_has_a_message_of_its_own() -> None:
    catalogue = discover([Fake(f"bad{index}", load) for index, (load, _) in enumerate(BROKEN.values())])
    messages = [failure.message for failure in catalogue.failures]
    assert len(messages) == len(set(messages)) == len(BROKEN)


def test_one_bad_offer_does_not_take_the_good_ones_beside_it() -> None:
    fake = Fake("half", lambda: module(regularizers=lambda: [offer("first"), offer("l1"), offer("last")]))
    catalogue = discover([fake])
    assert {"first", "last"} <= set(catalogue.offers["regularizers"])
    assert len(catalogue.failures) == 1


def test_the_second_of_two_plugins_with_one_name_is_the_one_to_blame() -> None:
    first = Fake("first", lambda: module(regularizers=lambda: [offer("same")]))
    second = Fake("second", lambda: module(regularizers=lambda: [offer("same")]))
    catalogue = discover([first, second])
    (failure,) = catalogue.failures
    assert failure.origin.plugin == "second"
    assert "which first (robustreg-first 1.2) has already" in failure.message


def test_two_entry_points_of_one_name_do_not_hide_each_other() -> None:
    catalogue = discover([GOOD, Fake("good", lambda: module(regularizers=lambda: [offer("other")]))])
    assert "good_one" in catalogue.offers["regularizers"]
    assert len(catalogue.failures) == 1


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupt() -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discover([Fake("slow", interrupt)])


def test_commands_are_kept_and_not_run() -> None:
    ran: list[object] = []
    catalogue = discover([Fake("cli", lambda: module(commands=lambda group: ran.append(group)))])
    assert [origin.plugin for origin, _ in catalogue.commands][-1] == "cli"
    assert ran == []


def test_an_unknown_name_gets_the_closest_one_and_the_failures() -> None:
    catalogue = discover([Fake("bad", not_there)])
    with pytest.raises(UsageError) as caught:
        catalogue.get("regularizers", "drpout")
    message = str(caught.value)
    assert "unknown regularizer 'drpout'. Did you mean 'dropout'?" in message
    assert "plugin bad (robustreg-bad 1.2): could not be loaded" in message
    with pytest.raises(UsageError, match="unknown data set 'digit'"):
        catalogue.get("datasets", "digit")


def test_a_known_name_is_found() -> None:
    catalogue = Catalogue()
    origin = plugins.Origin("p", "d", "1")
    one = offer("one")
    catalogue.add("regularizers", origin, one)
    assert catalogue.get("regularizers", "one") is one
    assert catalogue.origins["regularizers", "one"] is origin


def test_installed_entry_points_are_found_in_the_order_of_their_names(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("zeta", "alpha"):
        (tmp_path / f"robustreg_{name}.py").write_text(
            "from robustreg import Regularizer, hookimpl\n"
            f"class One(Regularizer):\n    '''One.'''\n    name = '{name}'\n"
            "@hookimpl\ndef regularizers():\n    return [One]\n"
        )
        folder = tmp_path / f"robustreg_{name}-3.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: robustreg-{name}\nVersion: 3.1\n")
        (folder / "entry_points.txt").write_text(f"[robustreg]\n{name} = robustreg_{name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = [str(origin) for origin in discover().loaded if origin.plugin in ("zeta", "alpha")]
    assert mine == ["alpha (robustreg-alpha 3.1)", "zeta (robustreg-zeta 3.1)"]
    monkeypatch.setenv(plugins.ALLOWED, "zeta")
    catalogue = discover()
    assert "zeta" in catalogue.offers["regularizers"]
    assert "alpha" not in catalogue.offers["regularizers"]
    monkeypatch.setenv(plugins.ALLOWED, "")
    assert {origin.distribution for origin in discover().loaded} == {"robustreg"}
    for name in ("zeta", "alpha"):
        sys.modules.pop(f"robustreg_{name}", None)
