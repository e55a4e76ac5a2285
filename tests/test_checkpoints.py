"""A long run saves what it can go on from at the end of an epoch; cut off and begun again it goes on from there, to the
same bits; and a file that is damaged, or of another run, is never believed."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustreg as rr
from robustreg import layers, states
from robustreg.data.split import Split, Splits
from robustreg.engines import LOCAL
from robustreg.errors import DataError, DiskFullError
from robustreg.hookspecs import hookimpl
from robustreg.plugins import discover
from robustreg.regularizer import Regularizer
from robustreg.session import StateError
from robustreg.study import fit, make_plan, run_plan, status_of
from robustreg.study.store import Store
from robustreg.study.verify import verify
from robustreg.training import train

linux = pytest.mark.skipif(bool(LOCAL.problem()), reason=LOCAL.problem())
ENGINES = ("serial", pytest.param("local:workers=2", marks=linux))
TIMES = {"training_seconds", "trust_seconds", "seconds"}


def blobs(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = torch.rand(count, 1, 6, 6, generator=generator) * 0.7
    x[torch.arange(count), 0, y * 2] += 0.3
    return Split(x, y, ("a", "b", "c"), torch.arange(count))


SPLITS = Splits(blobs(70, 0), blobs(30, 1), blobs(30, 2), "test", ("a", "b", "c"), (1, 6, 6), "hash", 0)


def network() -> nn.Sequential:
    """BatchNorm, keyed dropout, and torch's own dropout, which draws from the global stream."""
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), layers.Dropout(0.3)]
    return nn.Sequential(*first, nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3))


# The file of a state ----------------------------------------------------------------------------------------------


STATE: dict[str, Any] = {
    "objective": {"a": torch.arange(12.0).reshape(3, 4).T, "empty": torch.empty(0), "scalar": torch.tensor(True)},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0), "none": None}}, "groups": [{"betas": (0.9, 0.999)}]},
    "history": [{"loss": 0.1 + 0.2, "nan": float("nan")}, {}],
    "epoch": 2,
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def test_a_state_comes_back_as_it_was_and_equal_states_give_equal_bytes() -> None:
    file = states.to_bytes(STATE, "run 1")
    assert file == states.to_bytes(STATE, "run 1")
    found = states.from_bytes(file, "run 1")
    assert list(found) == list(STATE) and same({**found}, STATE)
    found["objective"]["a"].zero_()
    assert STATE["objective"]["a"].sum() == 66


def test_no_flipped_bit_and_no_cut_is_believed() -> None:
    file = states.to_bytes(STATE, "run 1")
    for at in range(len(file)):
        changed = bytearray(file)
        changed[at] ^= 1 << at % 8
        for damaged in (bytes(changed), file[:at]):
            with pytest.raises(DataError):
                states.from_bytes(damaged, "run 1")
    with pytest.raises(DataError, match="another run"):
        states.from_bytes(file, "run 2")
    with pytest.raises(DataError, match="no state"):
        states.from_bytes(states.to_bytes([1], "run 1"), "run 1")  # type: ignore[arg-type]


def test_what_no_file_can_hold_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="of the kind object"):
        states.to_bytes({"extra": object()}, "run 1")


def test_a_state_of_another_network_or_with_numbers_that_contradict_each_other_is_no_state_of_this_run() -> None:
    kept: list[dict[str, Any]] = []
    train(mlp(), [], SPLITS, epochs=2, on_epoch=lambda session: kept.append(session.state_dict()))
    with pytest.raises(StateError, match="not of this run"):
        train(network(), [], SPLITS, epochs=2, state=kept[0])
    for wrong in ({"epoch": 9}, {"epoch": -1}, {"epoch": None}, {"history": [1]}, {"optimizer": {}}, {"history": []}):
        with pytest.raises(StateError):
            train(mlp(), [], SPLITS, epochs=2, state={**kept[0], **wrong})


# What a state holds -----------------------------------------------------------------------------------------------


MEMBERS: dict[str, Callable[[], list[Regularizer]]] = {
    "best of early stopping": lambda: [rr.regularizers.EarlyStopping(1)],
    "average of ema": lambda: [rr.regularizers.EMA(0.9)],
    "average of swa": lambda: [rr.regularizers.SWA()],
    "cuts of plateau": lambda: [rr.regularizers.Plateau(0.5, patience=0)],
    "vectors of the spectral penalty": lambda: [rr.regularizers.SpectralPenalty(0.01)],
    "labels drawn once": lambda: [rr.regularizers.LabelNoise(0.3, when="once")],
    "a teacher": lambda: [rr.regularizers.Distillation(0.5)],
    "noise": lambda: [rr.regularizers.Shift(1), rr.regularizers.Mixup(0.5), rr.regularizers.SAM(0.05)],
}
HOW: dict[str, Any] = {"seed": 4, "epochs": 6, "batch_size": 16, "learning_rate": 0.05}


def saved(members: list[Regularizer], **how: Any) -> tuple[rr.Run, list[bytes]]:
    files: list[bytes] = []
    keep = lambda session: files.append(states.to_bytes(session.to_go_on(), "x"))  # noqa: E731
    return train(network(), members, SPLITS, on_epoch=keep, **{**HOW, **how}), files


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("what", MEMBERS)
def test_a_run_goes_on_from_a_file_to_the_same_bits(what: str, optimizer: str) -> None:
    whole, files = saved(MEMBERS[what](), optimizer=optimizer)
    again = train(
        network(), MEMBERS[what](), SPLITS, state=states.from_bytes(files[2], "x"), **HOW, optimizer=optimizer
    )
    assert same(dict(whole.model.state_dict()), dict(again.model.state_dict()))
    assert same(whole.history, again.history) and whole.gradient_passes == again.gradient_passes
    assert whole.status == again.status == "ok" and again.seconds > states.from_bytes(files[2], "x")["seconds"]


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("noise", "optimizer.momentum_buffer"),
        ("noise", "objective.network.1.running_var"),
        ("noise", "objective.network.5.weight"),
        ("best of early stopping", "objective.regularizers.early_stopping.best."),
        ("best of early stopping", "objective.regularizers.early_stopping.best_score"),
        ("average of ema", "objective.regularizers.ema.average.5.weight"),
        ("cuts of plateau", "objective.regularizers.plateau.cuts"),
        ("labels drawn once", "objective.regularizers.label_noise.key"),
    ],
)
def test_and_each_of_these_is_needed_for_it(what: str, part: str) -> None:
    # The best epoch of early stopping comes before the cut, so that its weights are those of the file.
    rate = {"learning_rate": 0.0} if part.endswith("best.") else {}
    whole, files = saved(MEMBERS[what](), **rate)
    state = states.from_bytes(files[1], "x")
    room, _, name = part.partition(".")
    parts = state["objective"] if room == "objective" else state["optimizer"]["state"]
    tensors = parts if room == "objective" else {f"{name}.{at}": kept[name] for at, kept in parts.items()}
    touched = [tensor for key, tensor in tensors.items() if key.startswith(name) and tensor.numel()]
    assert touched
    for tensor in touched:
        tensor.add_(2)
    again = train(network(), MEMBERS[what](), SPLITS, state=state, **{**HOW, **rate})
    weights = same(dict(whole.model.state_dict()), dict(again.model.state_dict()))
    assert not (weights and same(whole.history, again.history))


# Studies ----------------------------------------------------------------------------------------------------------


class Trace(Regularizer):
    """Writes a line at the end of each epoch; kills a process at the end of one, before its state is saved."""

    name = "trace"
    file, victim, seconds = Path(), "", 0.0

    @hookimpl
    def after_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        with open(Trace.file, "a") as file:
            file.write(f"{os.getpid()} {float(self.strength):g} {epoch} {metrics['train_loss']!r}\n")
        time.sleep(Trace.seconds)
        again = Trace.victim == "once" and Trace.file.read_text().count(" 2 4 ") > 1
        if epoch == 4 and float(self.strength) == 2 and Trace.victim and not again:
            os.kill(os.getppid() if Trace.victim == "parent" else os.getpid(), signal.SIGKILL)
            time.sleep(60)  # until the signal comes that the parent's death sends


def study(folder: Path, engine: str, **more: Any) -> rr.Comparison:
    plan = make_plan(
        ["none", Trace(1.0), Trace(2.0)], catalogue=discover(), data="digits:train=60,val=20,test=20", epochs=8,
        model="mlp:hidden=8", label_noise=[], eps=[0.1], headline_eps=0.1, seeds=1, measures=["clean_accuracy"],
    )  # fmt: skip
    plan = replace(plan, stacked=False)  # so small a network is only saved where it is trained alone
    Trace.file = folder.with_suffix(".trace")
    return run_plan(plan, engine=engine, out=folder, **more)


@contextmanager
def saving(seconds: float = 0.0) -> Iterator[None]:
    """Save the state of a run after each epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "SAVE", seconds)
        patch.setattr(fit, "SAVING", 0)
        yield


def forked(do: Callable[[], Any]) -> int:
    """Do something in a process of its own and return its exit code, negative for a signal."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setsid()
            do()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def trained(folder: Path) -> Counter[tuple[str, int]]:
    """How often each epoch of each traced run was trained."""
    lines = [line.split() for line in folder.with_suffix(".trace").read_text().splitlines()]
    return Counter((strength, int(epoch)) for _, strength, epoch, _ in lines)


def kept(folder: Path) -> tuple[dict[str, bytes], list[Any]]:
    """The bytes of the models, and all numbers but times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if key not in TIMES}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    with Store(folder) as store:
        records = sorted((timeless(asdict(record)) for record in store.records()), key=lambda each: each["id"])  # type: ignore[call-overload]
    models = {path.name: path.read_bytes() for path in folder.glob("models/*")}
    return models, json.loads(json.dumps(records))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "study"
    study(folder, "serial")
    assert not (folder / "checkpoints").exists()  # runs of milliseconds pay nothing
    assert set(trained(folder).values()) == {1} and len(trained(folder)) == 16
    return folder


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A study that was killed at the end of the fifth epoch of its last run, by itself."""
    return killed(tmp_path / "cut", "serial")


def killed(folder: Path, engine: str) -> Path:
    Trace.victim, Trace.seconds = ("self", 0.0) if engine == "serial" else ("parent", 0.05)
    try:
        with saving():
            assert forked(lambda: study(folder, engine)) == -signal.SIGKILL
    finally:
        Trace.victim, Trace.seconds = "", 0.0
    time.sleep(0.2 * (engine != "serial"))  # a worker ends with its parent, and may have been writing a line
    return folder


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_study_goes_on_from_the_last_epoch_saved_to_the_same_bytes(
    engine: str, whole: Path, tmp_path: Path
) -> None:
    folder = killed(tmp_path / "cut", engine)
    before = trained(folder)
    assert before["2", 4] == 1 and before["2", 5] == 0
    assert status_of(folder).begun == 2  # of the other, all epochs are done, and it is not measured yet
    assert str(status_of(folder)).endswith("2 left, 2 begun")
    study(folder, engine)
    after = trained(folder)
    assert kept(folder) == kept(whole)
    # The fifth epoch was trained and not yet saved; on workers, a state may have been on its way.
    again = {what for what, times in after.items() if times > 1}
    assert again == {("2", 4)} if engine == "serial" else ("2", 4) in again and len(again) <= 3
    assert not list((folder / "checkpoints").iterdir()) and status_of(folder).begun == 0


@linux
def test_a_run_whose_worker_is_killed_goes_on_in_the_same_study(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"

    Trace.victim = "once"
    try:
        with saving():
            study(folder, "local:workers=2")
    finally:
        Trace.victim = ""
    assert kept(folder) == kept(whole)
    assert {what for what, times in trained(folder).items() if times > 1} == {("2", 4)}


def damaged(folder: Path, what: str) -> None:
    found = {path: path.read_bytes() for path in (folder / "checkpoints").iterdir()}
    (path,) = (path for path, data in found.items() if states.from_bytes(data, path.stem)["epoch"] == 4)
    content = bytearray(found[path])
    if what == "flipped":
        content[-1] ^= 1
    elif what == "cut":
        del content[-8:]
    elif what == "empty":
        content.clear()
    elif what == "of another run":
        content[:] = states.to_bytes(states.from_bytes(bytes(content), path.stem), "another")
    elif what == "of another network":
        content[:] = states.to_bytes({**states.from_bytes(bytes(content), path.stem), "objective": {}}, path.stem)
    elif what == "of an impossible epoch":
        content[:] = states.to_bytes({**states.from_bytes(bytes(content), path.stem), "epoch": 10**9}, path.stem)
    path.write_bytes(content)
    if what == "a link":
        shutil.move(path, folder.parent / "elsewhere")
        path.symlink_to(folder.parent / "elsewhere")


WRONG = ("flipped", "cut", "empty", "of another run", "of another network", "of an impossible epoch", "a link")


@pytest.mark.parametrize("what", WRONG)
def test_a_checkpoint_that_is_not_what_was_written_is_never_believed(what: str, whole: Path, cut: Path) -> None:
    damaged(cut, what)
    problems = verify(cut, lambda file: pytest.fail("nothing is to be trained"), runs=0).problems
    assert bool(problems) == (what not in ("of another network", "of an impossible epoch"))  # whose checksum is right
    assert all("will begin anew" in problem for problem in problems)
    study(cut, "serial")
    assert kept(cut) == kept(whole)
    assert all(trained(cut)["2", epoch] == (2 if epoch < 5 else 1) for epoch in range(8))
    assert not list((cut / "checkpoints").iterdir())


def test_a_sound_checkpoint_is_counted_by_verify_and_what_is_left_of_a_finished_run_is_removed(cut: Path) -> None:
    found = verify(cut, lambda file: pytest.fail("nothing is to be trained"), runs=0)
    assert found.checkpoints == 2 and not found.problems and found.to_dict()["checkpoints"] == 2
    with Store(cut) as store:
        done, begun = store.rows()[0].id, store.begun()
        store.save(done, b"left by a kill between the row and this")
        with store.coordinated():
            assert store.begun() == begun and done not in begun
    partial = cut / "checkpoints" / "x.safetensors.999999999.partial"
    partial.touch()
    Store(cut).close()
    assert not partial.exists()


def test_a_disk_without_room_for_states_costs_only_the_states(whole: Path, tmp_path: Path) -> None:
    folder, refused = tmp_path / "study", []

    def full(self: Store, identity: str, state: bytes) -> None:
        refused.append(identity)
        raise DiskFullError("no room")

    with saving(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "save", full)
        study(folder, "serial")
    assert len(refused) == 24
    assert kept(folder) == kept(whole)


def test_and_so_it_is_when_the_disk_itself_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = make_plan(
        ["none"], catalogue=discover(), data="digits:train=60,val=20,test=20", epochs=3, model="mlp:hidden=2000",
        label_noise=[], eps=[0.1], headline_eps=0.1, seeds=1, measures=["clean_accuracy"],
    )  # fmt: skip

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = 4 * plan.parameters() + 100_000  # room for the weights, and not for their momenta, too
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        with saving():
            run_plan(plan, engine="serial", out=folder)

    assert forked(limited) == 0
    assert not [*folder.rglob("*.partial"), *(folder / "checkpoints").glob("*")]
    with Store(folder) as store:
        assert [row.status for row in store.rows()] == ["ok"]


def test_a_run_with_a_state_that_no_file_can_hold_is_trained_all_the_same(tmp_path: Path) -> None:
    class Odd(Trace):
        """Keeps an object."""

        def get_extra_state(self) -> object:
            return {"kept": object()}

    plan = make_plan(
        [Odd(1.0)], catalogue=discover(), data="digits:train=60,val=20,test=20", epochs=2, model="mlp:hidden=8",
        label_noise=[], eps=[0.1], headline_eps=0.1, seeds=1, measures=["clean_accuracy"],
    )  # fmt: skip
    Trace.file = tmp_path / "trace"
    with saving():
        comparison = run_plan(plan, engine="serial", out=tmp_path / "study")
    assert [record.status for record in comparison.records] == ["ok", "ok"]


def test_states_are_saved_by_the_clock_and_not_by_the_epoch(tmp_path: Path) -> None:
    times: dict[str, list[float]] = {}

    def save(self: Store, identity: str, state: bytes) -> None:
        times.setdefault(identity, []).append(time.monotonic())

    Trace.seconds = 0.06
    try:
        with saving(0.15), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "save", save)
            study(tmp_path / "study", "serial")
    finally:
        Trace.seconds = 0.0
    several = [moments for moments in times.values() if len(moments) > 1]
    assert len(several) == 2 and all(len(moments) <= 4 for moments in several)  # of 8 epochs
    assert all(after - before >= 0.15 for moments in several for before, after in itertools.pairwise(moments))


@linux
def test_what_a_time_limit_ends_can_go_on_another_time(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    Trace.seconds = 0.2
    try:
        with saving():
            first = study(folder, "local:workers=1", run_seconds=1.0)
    finally:
        Trace.seconds = 0.0
    assert [record.status for record in first.records] == ["ok", "ok", "failed"]  # 8 epochs take 1.6 s
    assert status_of(folder).begun == 1
    study(folder, "serial")
    assert kept(folder) == kept(whole)
    assert sum(trained(folder).values()) <= 16 + 3  # those in which the limit struck
