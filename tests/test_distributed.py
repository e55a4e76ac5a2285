"""One run on two processes: the weights of one process but for rounding where nothing is drawn, the same on both
whatever is drawn; a process that dies or fails ends, or restarts, all of them; and one answer comes out."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

import robustreg as rr
from robustreg import layers, states
from robustreg.cli.main import run
from robustreg.data.split import Split, Splits
from robustreg.distributed import PeerLostError, World, joined
from robustreg.distributed.collective import reduce
from robustreg.errors import UsageError
from robustreg.hookspecs import hookimpl
from robustreg.noise import Rng
from robustreg.regularizer import Regularizer
from robustreg.training import Session, train

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tests fork"),
    pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo"),
]
LIMIT = 60.0
R = rr.regularizers


def blobs(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = torch.rand(count, 1, 6, 6, generator=generator, dtype=torch.float64) * 0.7
    x[torch.arange(count), 0, y * 2] += 0.3
    return Split(x, y, ("a", "b", "c"), torch.arange(count))


# Of 11 images one process learns from 6 and the other from 5; the last batch has one, which both learn from.
SPLITS = Splits(blobs(67, 0), blobs(31, 1), blobs(30, 2), "test", ("a", "b", "c"), (1, 6, 6), "hash", 0)
HOW: dict[str, Any] = {"seed": 3, "epochs": 3, "batch_size": 11, "learning_rate": 0.05}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def noisy() -> nn.Sequential:
    """BatchNorm, keyed dropout, and torch's own dropout, which draws from the global stream."""
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), layers.Dropout(0.3)]
    return nn.Sequential(*first, nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)).double()


def on_two(do: Callable[[World], Any], folder: Path) -> list[Any]:
    """Do something on two processes that know each other, and return what each returns."""
    folder.mkdir(exist_ok=True)

    def live(rank: int, pipe: Any) -> None:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
        try:
            pipe.send(do(World(rank, 2)))
        except Exception as error:
            pipe.send(error)
        pipe.close()

    fork, found = multiprocessing.get_context("fork"), []
    pipes = [fork.Pipe() for _ in range(2)]
    processes = [fork.Process(target=live, args=(rank, pipes[rank][1])) for rank in range(2)]
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    for process in processes:
        process.start()
    for process, (mine, theirs) in zip(processes, pipes, strict=True):
        theirs.close()
        try:
            found.append(mine.recv() if mine.poll(LIMIT) else TimeoutError())
        except EOFError:
            found.append(None)
        process.join(LIMIT)
    return found


def trained(run: rr.Run) -> dict[str, Any]:
    """A run as it can be sent: its weights as bytes."""
    weights = {name: value.numpy().tobytes() for name, value in run.model.state_dict().items()}
    return {"weights": weights, "history": run.history, "status": run.status}


def numbers(run: dict[str, Any]) -> Tensor:
    return torch.cat([torch.frombuffer(bytearray(each), dtype=torch.float64) for each in run["weights"].values()])


# The arithmetic ---------------------------------------------------------------------------------------------------


SURE: dict[str, Callable[[], list[Regularizer]]] = {
    "nothing": lambda: [],
    "penalties on the weights": lambda: [R.L1(1e-2), R.L2(1e-2), R.SpectralPenalty(1e-2)],
    "penalties on images": lambda: [R.InputGradient(0.1), R.ConfidencePenalty(0.1)],
    "labels": lambda: [R.LabelSmoothing(0.1), R.LabelNoise(0.2)],  # which are drawn for the whole set, before an epoch
    "an attack": lambda: [R.FGSMTraining(0.1)],
    "the gradient": lambda: [R.GradClip(0.05)],
    "weights to take it at": lambda: [R.SAM(0.2)],
    "the update": lambda: [R.MaxNorm(0.5), R.EMA(0.9), R.WeightDecay(1e-2)],
    "the rate": lambda: [R.Cosine(), R.Plateau(0.5, patience=0)],
    "the end": lambda: [R.EarlyStopping(0)],
    "a teacher": lambda: [R.Distillation(0.5)],
}


def test_two_processes_end_at_the_weights_of_one_where_nothing_is_drawn(tmp_path: Path) -> None:
    def do(world: World) -> dict[str, Any]:
        return {what: trained(train(mlp(), members(), SPLITS, world=world, **HOW)) for what, members in SURE.items()}

    first, second = on_two(do, tmp_path)
    for what, members in SURE.items():
        alone = trained(train(mlp(), members(), SPLITS, **HOW))
        assert first[what] == second[what], what  # every bit of weights, history and status
        torch.testing.assert_close(numbers(first[what]), numbers(alone), rtol=0, atol=1e-12, msg=what)
        assert len(first[what]["history"]) == len(alone["history"]), what
        for here, there in zip(first[what]["history"], alone["history"], strict=True):
            assert here == pytest.approx(there, rel=1e-9, abs=1e-12), what
    # These would be equal, too, if a penalty did nothing, or if a hook were not asked.
    plain = numbers(trained(train(mlp(), [], SPLITS, **HOW)))
    for what, members in SURE.items():
        if what not in ("nothing", "the end"):
            assert (numbers(trained(train(mlp(), members(), SPLITS, **HOW))) - plain).abs().max() > 1e-4, what


def test_whatever_is_drawn_both_have_the_same_weights_and_each_its_own_noise(tmp_path: Path) -> None:
    drawn: list[float] = []

    class Draw(Regularizer):
        """Draw a number."""

        name = "draw"

        @hookimpl
        def batch(self, rng: Rng) -> None:
            drawn.append(float(rng.uniform()))

    def do(world: World) -> Any:
        run = train(
            noisy(), [R.Mixup(0.5), R.Shift(1), R.PGDTraining(0.05, steps=2), Draw()], SPLITS, world=world, **HOW
        )
        return trained(run), list(drawn)

    (first, mine), (second, theirs) = on_two(do, tmp_path)
    assert first == second and first["status"] == "ok"
    assert len(mine) == len(theirs) == 3 * 7 and set(mine).isdisjoint(theirs)


def test_each_image_is_learned_from_once_an_epoch_and_one_that_is_shared_counts_once(tmp_path: Path) -> None:
    def do(world: World) -> Any:
        order = torch.randperm(67, generator=torch.Generator().manual_seed(1))
        batches = world.batches(SPLITS.train, order, 11, "cpu")
        return [(x.sum((1, 2, 3)).tolist(), y.tolist(), count) for x, y, count in batches]

    first, second = on_two(do, tmp_path)
    assert [len(x) for x, *_ in first] == [6] * 6 + [1] and [len(x) for x, *_ in second] == [5] * 6 + [1]
    assert first[-1] == second[-1] and first[-1][2] == 0.5
    seen = sorted(value for one in (first, second[:-1]) for x, *_ in one for value in x)
    assert seen == sorted(SPLITS.train.x.sum((1, 2, 3)).tolist())
    assert sum(count for one in (first, second) for *_, count in one) == pytest.approx(67)


def test_a_gradient_that_one_process_has_is_the_gradient_of_all_and_what_none_has_stays_none(tmp_path: Path) -> None:
    def do(world: World) -> Any:
        one, two, three = (
            nn.Parameter(torch.zeros(2, dtype=kind)) for kind in (torch.float32, torch.float64, torch.float32)
        )
        one.grad = torch.tensor([1.0, 2.0]) * (1 + world.rank)
        if world.rank:
            two.grad = torch.tensor([4.0, 8.0], dtype=torch.float64)
        reduce([one, two, three], 0.75 if world.rank else 0.25)
        return one.grad.tolist(), two.grad.tolist(), three.grad

    assert on_two(do, tmp_path) == [([1.75, 3.5], [3.0, 6.0], None)] * 2


def test_the_first_process_decides_when_to_stop(tmp_path: Path) -> None:
    class Stop(Regularizer):
        """Stop on one process alone."""

        name, wants = "stop", False

        @hookimpl
        def after_epoch(self) -> bool:
            return self.wants

    def do(world: World) -> Any:
        found = []
        for rank in range(2):
            Stop.wants = world.rank == rank
            found.append(len(train(mlp(), [Stop()], SPLITS, world=world, **HOW).history))
        return found

    assert on_two(do, tmp_path) == [[1, 3], [1, 3]]


def test_two_processes_go_on_from_the_state_of_the_first(tmp_path: Path) -> None:
    def do(world: World) -> Any:
        files: list[bytes] = []
        keep = lambda session: files.append(states.to_bytes(session.to_go_on(), "x"))  # noqa: E731
        members = [R.Mixup(0.5), R.EarlyStopping(5)]
        whole = trained(train(noisy(), members, SPLITS, world=world, on_epoch=keep, **HOW))
        state = states.from_bytes(world.spread(files[0] if world.rank == 0 else b"nothing"), "x")
        return whole, trained(train(noisy(), members, SPLITS, world=world, state=state, **HOW))

    (whole, again), (other, other_again) = on_two(do, tmp_path)
    assert whole == again == other == other_again


def test_a_process_that_is_left_alone_says_so(tmp_path: Path) -> None:
    def do(world: World) -> Any:
        def told(session: Session) -> None:
            if world.rank:
                os._exit(9)

        train(mlp(), [], SPLITS, world=world, on_epoch=told, **HOW)

    found, nothing = on_two(do, tmp_path)
    assert nothing is None and isinstance(found, PeerLostError) and "has ended" in str(found)


@pytest.mark.parametrize(("nproc", "started"), [(3, 2), (2, None), (1, 4)])
def test_another_number_of_processes_than_was_asked_for_is_refused_with_both_numbers(
    nproc: int, started: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", str(started))):
        monkeypatch.setenv(name, value) if started else monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=f"{nproc} processes were asked for.*{started or 'none'}"), joined(nproc):
        pass


def test_a_place_to_meet_that_is_not_told_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    for name in ("MASTER_PORT", "ROBUSTREG_STORE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="MASTER_PORT one is not"), joined(2):
        pass


# The command ------------------------------------------------------------------------------------------------------


PLUGIN = '''
import os, signal, time
from pathlib import Path
from torch import nn
import robustreg as rr
from robustreg.study import fit

fit.SAVE = fit.SAVING = 0  # a checkpoint after each epoch
HERE = Path(__file__).parent


class Trace(rr.Regularizer):
    """Notes each epoch of each process, and does something at the end of the third."""

    name = "trace"
    what = rr.Knob("nothing", choices=("nothing", "kill", "stop", "fail", "wait"))

    @rr.hookimpl
    def after_epoch(self, epoch):
        rank = int(os.environ.get("RANK", 0))
        with open(HERE / "trace", "a") as file:
            file.write(f"{rank} {epoch} {os.getpid()}\\n")
        if epoch == 2 and self.what == "wait":
            time.sleep(100)
        if epoch == 2 and rank == 1 and self.what == "fail":
            raise ValueError("as it was told")
        victim = (rank == 1 and self.what == "kill") or self.what == "stop"
        if epoch == 2 and victim and not (HERE / "killed").exists():
            (HERE / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


@rr.hookimpl
def regularizers():
    return [Trace]
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a plugin that can be imported from it."""
    (tmp_path / "tracing.py").write_text(PLUGIN)
    info = tmp_path / "tracing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tracing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[robustreg]\ntracing = tracing\n")
    return tmp_path


DATA = ["--data", "digits:train=80,val=20,test=20", "--model", "mlp:hidden=8", "--device", "cpu"]


def begun(place: Path, what: str, *more: str, before: tuple[str, ...] = ("-m", "robustreg")) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(place), str(Path(rr.__file__).parents[1]), *filter(None, sys.path)])
    asked = [
        "train",
        f"dropout:0.2+trace:what={what}",
        *DATA,
        "--epochs",
        "6",
        "--out",
        str(place / "out"),
        "--json",
        *more,
    ]
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *before, *asked], env=env, **pipes)


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the one JSON document, and what was said."""
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, json.loads(out), err


def as_torchrun_does(
    place: Path, what: str, *more: str, processes: int = 2, limit: int = 0
) -> list[tuple[int, str, str]]:
    """Run the command in processes that are told who they are; return exit code, output and errors of each."""
    asked = [
        "train",
        f"dropout:0.2+trace:what={what}",
        *DATA,
        "--epochs",
        "6",
        "--out",
        str(place / "out"),
        "--json",
        *more,
    ]
    for name in ("store", "out-0", "out-1", "err-0", "err-1"):
        (place / name).unlink(missing_ok=True)

    def live(rank: int) -> None:
        code = 70
        try:
            if processes > 1:
                told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "ROBUSTREG_STORE": place / "store"}
                os.environ.update({name: str(value) for name, value in told.items()} | {"GLOO_SOCKET_IFNAME": "lo"})
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(place / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT), number)
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
            sys.path.insert(0, str(place))
            if limit:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            code = run(asked)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    pids = []
    for rank in range(processes):
        pids.append(os.fork())
        if not pids[-1]:
            live(rank)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    texts = [[(place / f"{name}-{rank}").read_text() for name in ("out", "err")] for rank in range(processes)]
    return [(code, out, err) for code, (out, err) in zip(codes, texts, strict=True)]


def traced(place: Path) -> list[tuple[str, int]]:
    return [(line.split()[0], int(line.split()[1])) for line in (place / "trace").read_text().splitlines()]


def pids(place: Path) -> set[int]:
    return {int(line.split()[2]) for line in (place / "trace").read_text().splitlines()}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def gone_soon(place: Path) -> bool:
    until = time.monotonic() + 5
    while not (over := all(map(gone, pids(place)))) and time.monotonic() < until:
        time.sleep(0.05)
    return over


@pytest.mark.slow
def test_a_killed_process_restarts_all_from_the_checkpoint_to_the_same_weights(place: Path) -> None:
    code, document, err = ended(begun(place, "kill", "--nproc", "2"))
    assert code == 0 and document["nproc"] == 2 and document["epochs"] == 6, err
    assert "killed by signal 9; all start again" in err and "Going on after epoch" in err
    assert "Traceback" not in err and "torch" not in err
    # Two epochs were saved; the third was trained again, by both, and nothing else.
    assert sorted(set(traced(place))) == [(rank, epoch) for rank in "01" for epoch in range(6)]
    assert [epoch for rank, epoch in traced(place) if rank == "1"] == [0, 1, 2, 2, 3, 4, 5]
    assert not list((place / "out").glob("checkpoint*")) and gone_soon(place)
    restarted = load_file(place / "out" / "model.safetensors")
    (code, out, err), _ = as_torchrun_does(place, "kill", "--nproc", "2")  # which finds that it has killed already
    undisturbed = load_file(place / "out" / "model.safetensors")
    assert code == 0 and all(torch.equal(undisturbed[name], restarted[name]) for name in undisturbed), err
    assert json.loads(out)["last"] == document["last"]


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_with_one_message_and_its_exit_code(place: Path) -> None:
    code, document, err = ended(begun(place, "fail", "--nproc", "2"))
    assert code == 4 and document["error"]["exit_code"] == 4
    assert "as it was told" in document["error"]["message"] and err.count("as it was told") == 1
    assert "Traceback" not in err and "start again" not in err and gone_soon(place)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_processes(place: Path, number: signal.Signals) -> None:
    process = begun(place, "wait", "--nproc", "2")
    until = time.monotonic() + LIMIT
    while not (place / "trace").exists() or len([epoch for _, epoch in traced(place) if epoch == 2]) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert gone_soon(place) and len(pids(place)) == 2
    if number != signal.SIGKILL:
        assert json.loads(out)["error"]["exit_code"] == 130 and "Traceback" not in err
    # And what was saved is there to go on from.
    assert (place / "out" / "checkpoint.safetensors").exists()


def test_under_torchrun_itself_the_first_process_answers(place: Path) -> None:
    (code, out, err), (other_code, nothing, _) = as_torchrun_does(place, "nothing")
    assert code == other_code == 0 and nothing == "", err
    assert json.loads(out)["nproc"] == 2 and json.loads(out)["status"] == "ok"
    assert sorted(traced(place)) == [(rank, epoch) for rank in "01" for epoch in range(6)]


def test_and_says_when_torchrun_has_started_another_number(place: Path) -> None:
    (code, out, err), (other_code, nothing, _) = as_torchrun_does(place, "nothing", "--nproc", "3")
    assert code == other_code == 2 and nothing == ""
    says = "3 processes were asked for (--nproc 3), and torchrun has started 2"
    assert json.loads(out)["error"]["message"] == says and err == f"Error: {says}\n"


# One process ------------------------------------------------------------------------------------------------------


def test_a_run_that_was_cut_off_goes_on_to_the_same_bytes_and_its_checkpoint_is_removed(place: Path) -> None:
    ((code, _, err),) = as_torchrun_does(place, "stop", processes=1)
    assert code == -signal.SIGKILL and (place / "out" / "checkpoint.safetensors").exists(), err
    assert [epoch for _, epoch in traced(place)] == [0, 1, 2]
    (place / "out" / "checkpoint.safetensors.999999999.partial").touch()
    (place / "out" / "mine.partial").touch()
    ((code, out, err),) = as_torchrun_does(place, "stop", "--nproc", "1", processes=1)
    assert code == 0 and "Going on after epoch 2 of 6" in err and json.loads(out)["epochs"] == 6
    assert [epoch for _, epoch in traced(place)] == [0, 1, 2, 2, 3, 4, 5]
    names = {"model.safetensors", "history.csv", "run.json", "mine.partial"}
    assert {path.name for path in (place / "out").iterdir()} == names
    kept = {name: (place / "out" / name).read_bytes() for name in ("model.safetensors", "history.csv")}
    ((code, _, err),) = as_torchrun_does(place, "stop", processes=1)
    assert code == 0 and "Going on" not in err
    assert kept == {name: (place / "out" / name).read_bytes() for name in kept}


def test_the_checkpoint_of_another_run_is_kept_and_a_damaged_one_is_not_believed(place: Path) -> None:
    as_torchrun_does(place, "stop", processes=1)
    path = place / "out" / "checkpoint.safetensors"
    sound = path.read_bytes()
    for other in (("--seed", "1"), ("--epochs", "7"), ("--learning-rate", "0.01"), ("--label-noise", "0.5")):
        ((code, out, err),) = as_torchrun_does(place, "stop", *other, processes=1)
        assert code == 2 and "another run" in err and "--out" in json.loads(out)["error"]["message"], other
        assert path.read_bytes() == sound and len(traced(place)) == 3
    found = as_torchrun_does(place, "stop", processes=2)  # another number of processes is another draw
    assert [code for code, *_ in found] == [2, 1] and "another run" in found[0][2]
    damaged = bytearray(sound)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    ((code, _, err),) = as_torchrun_does(place, "stop", processes=1)
    assert code == 0 and "is damaged" in err and "begins anew" in err
    assert [epoch for _, epoch in traced(place)][3:] == [0, 1, 2, 3, 4, 5]
    path.write_bytes(states.to_bytes({"epoch": 1}, "of something else"))
    ((code, _, _),) = as_torchrun_does(place, "stop", processes=1)
    assert code == 2


def test_a_full_disk_costs_the_checkpoint_and_is_said(place: Path) -> None:
    ((code, _, err),) = as_torchrun_does(place, "nothing", processes=1, limit=5_500)  # the model has 3,600 bytes
    assert code == 0 and err.count("no checkpoint is saved: no room") == 1 and "Traceback" not in err
    assert not list((place / "out").glob("*checkpoint*")) and (place / "out" / "model.safetensors").exists()
