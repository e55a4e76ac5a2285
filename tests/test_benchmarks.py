"""Every benchmark in a tiny form: it runs, gives finite numbers, and its sides do the same. No timing is asserted."""

import json
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robustreg as rr
from benchmarks import __main__ as command
from benchmarks import (
    attacks,
    engines,
    gpu,
    hooks,
    limits,
    machine,
    measure,
    peers,
    plain,
    scaling,
    study,
    training,
    tutorial,
)
from benchmarks.measure import Spread, alternate, exponent, ratios
from benchmarks.table import Table, shown
from benchmarks.victims import victim
from robustreg.cohort import train_many
from robustreg.plugins import discover
from robustreg.resolve import arms_of

EPOCHS = 4  # of the networks that are attacked here


def numbers(table):
    for row in table.rows:
        for name, cell in row.items():
            values = vars(cell).values() if isinstance(cell, Spread) else [cell]
            yield from ((name, value) for value in values if isinstance(value, int | float))


def check(table, rows):
    assert len(table.rows) == rows and table.notes
    found = list(numbers(table))
    assert found and all(math.isfinite(value) for _, value in found), found
    for row in table.rows:
        for cell in row.values():
            if isinstance(cell, Spread):
                assert 0 < cell.low <= cell.median <= cell.high
    text = table.markdown()
    assert all(note in text for note in table.notes) and text.startswith(f"## {table.title}\n")


# --- the tools ----------------------------------------------------------------------------------------------------


def test_sides_take_turns_and_the_order_is_turned_round():
    said = []
    seconds = alternate({"a": partial(said.append, "a"), "b": partial(said.append, "b")}, rounds=3)
    assert "".join(said) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_taken_within_each_round():
    assert ratios([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == Spread(3.0, 2.0, 4.0)
    assert ratios([1.0], [4.0], scale=16) == Spread(4.0, 4.0, 4.0)


def test_the_exponent_of_a_power_law_is_its_power():
    sizes = [1, 3, 7, 20]
    assert exponent(sizes, [5 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_more_threads_are_taken_only_where_they_win_each_time():
    assert measure.best_threads({1: [2.0, 2.1], 2: [1.2, 1.3]}) == 2
    assert measure.best_threads({1: [2.0, 2.1], 2: [1.2, 2.0]}) == 1
    assert measure.best_threads({1: [2.0]}) == 1


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with measure.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_cell_shows_what_counts():
    assert shown(Spread(2.3456, 1.0, 30.0)) == "**2.35** (1..30)"
    assert (shown(None), shown("x"), shown(3), shown(1234.5)) == ("", "x", "3", "1234")


# --- (a) ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_tutorials_loop_and_ours_make_the_same_steps(tmp_path):
    tutorial.write_images(tmp_path, 30)
    taught = tutorial.as_taught(tmp_path, 8)
    splits = rr.load_data(f"folder:{tmp_path}")
    assert (len(splits.train), len(splits.val)) == (30, tutorial.VALIDATION)
    ours = tutorial.train(splits, 8)
    # One batch holds all images, so that their order does not matter: the curves differ by rounding only.
    for part, curve in taught.items():
        assert curve == pytest.approx(ours[part], abs=0.02), part
    assert taught["train"][0] < taught["train"][-1]


def test_its_network_is_our_animalnet():
    torch.manual_seed(3)
    theirs = tutorial.AnimalNet()
    torch.manual_seed(3)
    ours = rr.models.animalnet((3, 32, 32), 3)
    x = torch.rand(5, 3, 32, 32)
    assert torch.allclose(theirs(2 * x - 1), ours(x).log_softmax(1), atol=1e-5)


@pytest.mark.slow
def test_tutorial():
    check(tutorial.run(counts=(30,), rounds=1, taught_epochs=1, epochs=2), rows=1)


# --- (b) ----------------------------------------------------------------------------------------------------------


def test_training():
    table = training.run(models=("mlp 32",), counts=(1, 2), rounds=1, epochs={"mlp 32": 4})
    check(table, rows=2)
    for row in table.rows:
        assert row["our_accuracy"] > 0.6 and row["plain_accuracy"] > 0.6


def test_the_plain_loop_learns_as_much_as_ours():
    splits, data = training.digits()
    theirs = [plain.train(training.build("mlp 64"), data, seed=seed, epochs=15)[1] for seed in range(3)]
    ours = [run.history[-1]["val_accuracy"] for run in training.many("mlp 64", 3, 15, splits)]
    assert abs(sum(theirs) - sum(ours)) / 3 < 0.02 and min(*theirs, *ours) > 0.9


def test_study():
    table = study.run(seeds=2, some=1, rounds=1, epochs=2, arms=("none", "dropout:0.5"))
    check(table, rows=1 + 2 * 2)
    assert set(study.DEFAULT_ARMS) == set(plain.DEFAULTS)


@pytest.mark.parametrize("name", plain.DEFAULTS)
def test_every_default_arm_has_a_plain_loop_that_learns_as_much(name):
    splits, data = training.digits()
    made, catalogue = training.build("mlp 64"), discover([])
    (arm,) = arms_of([name], catalogue)
    theirs = [plain.train_arm(made, data, plain.DEFAULTS[name], seed=seed, epochs=20)[1] for seed in range(3)]
    runs = train_many(made, arm.regularizers, splits, seeds=range(3), epochs=20)
    ours = [run.history[-1]["val_accuracy"] for run in runs]
    # Three seeds of an arm differ by some points; a regularizer that is missing on one side, or twice there, by more.
    assert abs(sum(theirs) - sum(ours)) / 3 < 0.05 and min(*theirs, *ours) > 0.75


@pytest.mark.parametrize(("name", "knobs"), [("l1", {"l1": 1e-2}), ("l2", {"l2": 1e-2})])
def test_plain_penalties_are_ours(name, knobs):
    _, data = training.digits()
    strength = next(iter(knobs.values()))
    kind = {"l1": rr.regularizers.L1, "l2": rr.regularizers.L2}[name]
    made = training.build("mlp 32")
    whole = plain.Data(data.x[:50], data.y[:50], data.val_x, data.val_y)
    torch.manual_seed(5)
    model = made()
    objective = rr.Objective(model, [kind(strength)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        objective(whole.x, whole.y, 0)[0].backward()
        optimizer.step()
    expected = plain.accuracy(model, whole.x, whole.y), plain.accuracy(model, whole.val_x, whole.val_y)
    assert plain.train_arm(made, whole, plain.Arm(**knobs), seed=5, epochs=30) == pytest.approx(expected, abs=0.02)


def test_plain_shifts_are_shifts():
    x = torch.rand(40, 2, 5, 6)
    torch.manual_seed(0)
    moved = plain.shifted(x, 1)
    ways = torch.stack([F.pad(x, [1] * 4)[:, :, a : a + 5, b : b + 6] for a in range(3) for b in range(3)])
    which = (ways == moved).flatten(2).all(2)
    assert which.any(0).all() and which.any(1).all()


def test_plain_dropout_stands_where_ours_does():
    layers = [type(layer) for layer in plain.with_dropout(training.build("mlp 64")(), 0.5)]
    linear = [index for index, layer in enumerate(layers) if layer is nn.Linear]
    assert [layers[index - 1] is nn.Dropout for index in linear] == [False, True, True]


# --- (c) ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weak():
    return victim("weak mlp", epochs=EPOCHS, points=60)


@pytest.mark.slow
def test_attacks():
    pytest.importorskip("foolbox")
    table = attacks.run(
        victims=("weak mlp",),
        attacks=("FGSM curve", "PGD-40", "APGD-100"),
        points=60,
        rounds=1,
        epochs=EPOCHS,
    )
    check(table, rows=3)
    for row in table.rows:
        assert row["agreement"] >= 0.9 and abs(row["left_by_ours"] - row["left_by_peer"]) <= 0.05, row


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["FGSM curve", "PGD-40", "APGD-100"])
def test_every_peer_leaves_the_points_that_ours_leaves(weak, attack):
    ours, theirs = attacks.ATTACKS[attack](weak)
    if not theirs:
        pytest.skip("no peer of this attack is installed")
    left = ours()
    clean = peers.stands(weak.model, weak.x, weak.y)
    assert 0 < left.double().mean() < clean.double().mean()
    for name, side in theirs.items():
        found = side()
        assert found.shape == left.shape and found.dtype == torch.bool, name
        assert (found == left).double().mean() >= 0.9, name
        if attack != "FGSM curve":  # an attack that counts every iterate leaves no more
            assert left.sum() <= found.sum() + 2, name


@pytest.mark.slow
def test_the_ensembles_leave_the_same_points(weak):
    of = weak._replace(x=weak.x[:20], y=weak.y[:20])
    theirs = peers.ensemble(of.model, of.x, of.y, 2 / 16, queries=100)
    if not theirs:
        pytest.skip("no peer of the ensemble is installed")
    left = peers.stands(of.model, rr.attacks.autoattack(of.model, of.x, of.y, eps=2 / 16, version="fast"), of.y)
    for name, side in theirs.items():
        assert (side() == left).double().mean() >= 0.9, name


def test_a_library_that_is_missing_is_left_out(weak, monkeypatch):
    monkeypatch.setattr(peers, "found", lambda name: None)
    table = attacks.run(victims=("weak mlp",), attacks=("PGD-40",), points=60, rounds=1, epochs=EPOCHS)
    assert not table.rows and "no peer is installed" in table.notes[0]


# --- (d), (e), (f), GPU -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_scaling():
    base = {"seeds": 1, "images": 100, "width": 8, "eps": 1, "epochs": 1}
    table = scaling.run(axes={"seeds": (1, 2)}, base=base)
    check(table, rows=3)
    assert all(row["peak_MB"] > 50 for row in table.rows)


def test_engines():
    table = engines.run(engines=("serial", "local:workers=1", "nowhere", "local:workers=-1"), runs=2, rounds=2)
    check(table, rows=2)
    assert [row["ms_over_serial"] is None for row in table.rows] == [True, False]
    assert sum("left out" in note for note in table.notes) == 2  # what is not installed, or does not start, is said


def test_limits():
    table = limits.run(
        models=("mlp 32",), count=2, epochs=1, rounds=1, sizes=(64,), victims=("weak mlp",), trained=EPOCHS, points=60
    )
    check(table, rows=3)
    assert all(value > 0 for name, value in numbers(table) if name.startswith("share"))


def test_operations_are_those_of_the_formula():
    sizes = (64, 32), (32, 16), (16, 10)
    products = sum(before * after for before, after in sizes)
    # Twice for a multiplication and an addition; forward, to the weights, and to all inputs but the pixels.
    step = 2 * limits.BATCH * (3 * products - 64 * 32)
    assert limits.training_flops("mlp 32") == 20 * step + 2 * products * 1297


def test_hooks():
    check(hooks.run(sides=hooks.SIDES[:3], rounds=2, epochs=1), rows=6)


def test_idle_regularizers_change_nothing():
    splits, _ = training.digits()
    model = training.build("mlp 32")()
    none, *idle = (
        rr.train(model, members, splits, epochs=2)
        for members in ([], *([kind(name="first"), kind(name="second")] for kind in hooks.KINDS.values()))
    )
    for run in idle:
        assert all(torch.equal(a, b) for a, b in zip(none.model.parameters(), run.model.parameters(), strict=True))


def test_without_a_gpu_the_gpu_benchmark_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = gpu.run()
    assert not table.rows and "no GPU" in table.notes[0]


@pytest.mark.slow
def test_the_gpu_benchmarks_eager_steps_run_anywhere():
    eager = {name: side for name, side in gpu.steps(2, "cpu", repeats=1).items() if "compiled" not in name}
    assert len(eager) == 4
    for side in eager.values():
        side()


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_what_it_found(tmp_path, monkeypatch, capsys):
    table = Table("tiny", "A table", [{"case": "x", "ratio": Spread(2.0, 1.0, 3.0)}], ["a note"])
    monkeypatch.setattr(command, "BENCHMARKS", {"tiny": lambda **sizes: table})
    command.main(["tiny", "--out", str(tmp_path)])
    text = (tmp_path / "results.md").read_text()
    assert "| x | **2** (1..3) |" in text and "a note" in text and machine.processor() in text
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["tables"][0]["rows"] == [{"case": "x", "ratio": {"median": 2.0, "low": 1.0, "high": 3.0}}]
    assert {"date", "machine", "versions", "peers", "threads", "took"} <= set(found["about"])
    assert "A table" in capsys.readouterr().out


def test_a_part_overwrites_no_table(monkeypatch):
    written = []
    monkeypatch.setattr(command, "BENCHMARKS", {"tiny": lambda **sizes: Table("tiny", "A table")})
    monkeypatch.setattr(command, "write", lambda folder, about, tables: written.append(folder) or ())
    command.main(["tiny"])
    assert not written
    command.main([])
    assert [folder.name for folder in written] == ["benchmarks"]


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["tinny"])
    assert "no benchmark 'tinny'" in capsys.readouterr().err


def test_quick_knows_every_benchmark():
    assert set(command.QUICK) == set(command.BENCHMARKS)
