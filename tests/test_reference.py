"""Published tables: consistent in themselves and with each other; claims follow from them; judging is arithmetic."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from robustreg import reference
from robustreg.errors import DataError, UsageError
from robustreg.reference import EVIDENCE, Row, Tie, claims, judge, load, measured, page, read_measured, tables, ties
from robustreg.reference import rows as room

STUDIES = Path(__file__).parents[1] / "examples" / "studies"
ROWS = [(name, row) for name in tables() for row in load(name)]
ATTACKED = [(name, row) for name, row in ROWS if row.size is not None and row.accuracy is not None]
WHITE = re.compile(r"(fgsm|mi-fgsm|pgd(-\d+)?( x\d+)?|autoattack)")  # attacks that can be put in an order of strength


def value(name: str, at: str) -> float:
    found = next(row for row in load(name) if row.id == at)
    assert found.value is not None
    return found.value


def strength(attack: str) -> tuple[int, int, int]:
    """FGSM, then PGD by restarts and steps, then AutoAttack."""
    kinds = {"fgsm": 0, "mi-fgsm": 1, "autoattack": 3}
    steps, restarts = re.search(r"-(\d+)", attack), re.search(r" x(\d+)", attack)
    number = int(steps[1]) if steps else 0
    return kinds.get(attack, 2), int(restarts[1]) if restarts else 1, number


def test_the_papers_of_the_issue_are_there() -> None:
    wanted = {"madry", "rice", "zhang", "goodfellow", "galloway", "wong", "trades", "pytorch_robust", "robustbench"}
    assert wanted <= set(tables())
    assert sum(row.value is not None for _, row in ROWS) > 350


@pytest.mark.parametrize("name", tables())
def test_every_row_says_what_it_is_and_where_it_was_printed(name: str) -> None:
    rows = load(name)
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.source and row.table and row.data and row.model and row.training and row.quantity
        assert row.evidence in EVIDENCE and row.unit in ("%", "minutes", "hours")
        assert row.norm in ("", "linf", "l2", "l0")
        assert row.size is None or 0 < row.size <= 1


def test_no_digit_is_from_memory_and_what_has_none_says_why() -> None:
    for _, row in ROWS:
        assert row.evidence != "memory" or row.value is None
        if row.value is None:
            said = [other for _, other in ROWS if other.source == row.source and other.note]
            assert said, row.id


def test_per_cent_lie_between_0_and_100_and_error_and_accuracy_add_up() -> None:
    for _, row in ROWS:
        if row.value is not None and row.unit == "%":
            assert 0 <= row.value <= 100
            if "error" in row.quantity or "success" in row.quantity:
                assert row.accuracy == 100 - row.value
            elif "accuracy" in row.quantity:
                assert row.accuracy == row.value
            else:
                assert row.accuracy is None


@pytest.mark.parametrize("name", tables())
def test_no_number_is_printed_twice_for_the_same_thing(name: str) -> None:
    def what(row: Row) -> tuple[object, ...]:
        about = (row.source, row.table, row.data, row.model, row.training, row.attack, row.norm, row.eps, row.quantity)
        return (*about, row.note if "paper" in row.note else "")

    found = [what(row) for row in load(name)]
    assert len(set(found)) == len(found)


def same_network(row: Row) -> tuple[str, ...]:
    return row.source, row.table, row.data, row.model, row.training, row.norm, row.quantity, row.eps


def ladders() -> list[list[Row]]:
    rows = sorted((row for _, row in ATTACKED if WHITE.fullmatch(row.attack)), key=same_network)
    return [found for _, some in groupby(rows, same_network) if len(found := list(some)) > 1]


def test_a_stronger_attack_never_leaves_more() -> None:
    exceptions = []
    for rungs in ladders():
        for weak, strong in combinations(sorted(rungs, key=lambda row: strength(row.attack)), 2):
            assert weak.accuracy is not None and strong.accuracy is not None
            if strong.accuracy > weak.accuracy:
                exceptions.append((weak.model, weak.training, weak.attack, strong.attack, weak.eps))
    assert len(ladders()) > 25
    # One pair of attacks in all tables is not nested: steps of a quarter of eps beside steps of a tenth.
    assert exceptions == [("wide resnet 28-10", "pgd", "pgd-10", "pgd-40", "8/255")]


def test_autoattack_leaves_less_than_any_other_attack_of_its_table() -> None:
    rows = [row for _, row in ATTACKED]
    best = [row for row in rows if row.attack == "autoattack"]
    beside = [(row, other) for row in best for other in rows if same_network(row) == same_network(other)]
    assert len(beside) > 2 * len(best)
    assert all(row.accuracy <= other.accuracy for row, other in beside)  # type: ignore[operator]


def test_a_larger_eps_never_leaves_more() -> None:
    def but_eps(row: Row) -> tuple[str, ...]:
        return row.source, row.data, row.model, row.training, row.norm, row.quantity, row.attack

    pairs = [
        (one, other)
        for (_, one), (_, other) in combinations(ATTACKED, 2)
        if but_eps(one) == but_eps(other) and one.table == other.table and one.size != other.size
    ]
    assert len(pairs) > 60
    for one, other in pairs:
        small, large = sorted((one, other), key=lambda row: row.size or 0)
        assert large.accuracy <= small.accuracy  # type: ignore[operator]


def test_only_fgsm_training_is_better_attacked_than_clean_and_only_under_fgsm() -> None:
    clean = {
        (name, row.data, row.model, row.training): row.accuracy
        for name, row in ROWS
        if row.attack == "none" and row.quantity in ("accuracy", "error")
    }
    above = set()
    compared = 0
    for name, row in ATTACKED:
        whole = clean.get((name, row.data, row.model, row.training))
        if whole is not None and row.quantity in ("accuracy", "error"):
            compared += 1
            if row.accuracy > whole:  # type: ignore[operator]
                above.add((row.training, row.attack))
    assert compared > 150
    assert above == {("fgsm", "fgsm")}


def test_two_tables_of_madry_et_al_agree_on_the_network_they_share() -> None:
    shared = {"clean": "none", "fgsm": "fgsm-8-255", "pgd-20": "pgd-8-255"}
    for one, other in shared.items():
        assert value("madry", f"table-2/{one}") == value("madry", f"cifar10/wide-resnet/pgd/{other}")


def test_madrys_ladder_loses_what_it_is_quoted_to_lose() -> None:
    at = "mnist/cnn-32-64-1024/pgd"
    assert value("madry", f"{at}/fgsm-0.3") - value("madry", f"{at}/pgd-100-x20-0.3") == pytest.approx(6.3)


def test_of_rices_arms_none_is_better_last_than_best_and_none_beats_stopping_in_time() -> None:
    last = {row.id.rsplit("/", 1)[0]: row for row in load("rice") if row.quantity == "error, last 5"}
    best = {row.id.rsplit("/", 1)[0]: row for row in load("rice") if row.quantity == "error, best"}
    robust = {name for name in last if "/pgd-10" in name}
    assert len(robust) > 18
    assert all(last[name].value >= best[name].value for name in robust)  # type: ignore[operator]
    same = {row.training: row.value for row in last.values() if row.model == "preact_resnet18" and row.eps == "8/255"
            and row.data == "cifar10"}  # fmt: skip
    assert min(same, key=lambda name: same[name] or 0) == "pgd + early stopping"
    assert same["pgd"] - value("rice", "cifar10/preact-resnet18/pgd/pgd-10-8-255/error-best") == pytest.approx(7.4)


def test_more_width_overfits_more_and_is_better_all_the_same() -> None:
    def of(width: int, what: str) -> float:
        return value("rice", f"cifar10/wide-resnet-width-{width}/pgd/pgd-10-8-255/{what}")

    for what in ("error-best", "train-error-last"):
        found = [of(width, what) for width in (1, 5, 10, 20)]
        assert found == sorted(found, reverse=True)


def test_zhangs_networks_fit_at_least_as_well_as_they_generalize_and_random_labels_leave_chance() -> None:
    train = {(row.model, row.training): row.accuracy for row in load("zhang") if row.quantity == "train accuracy"}
    test = {(row.model, row.training): row for row in load("zhang") if row.quantity == "accuracy"}
    both = [key for key in test if train.get(key) is not None]
    assert len(both) == 19
    for key in both:
        assert train[key] >= test[key].accuracy  # type: ignore[operator]
    chance = [row.value for row in test.values() if row.training == "random labels"]
    spread = 100 * np.sqrt(0.1 * 0.9 / 10_000)
    assert len(chance) == 5
    assert all(abs(found - 10) < 3 * spread for found in chance)  # type: ignore[operator]
    assert all(train[key] > 99 for key in both if key[1] == "random labels")  # type: ignore[operator]


def test_augmentation_gives_more_than_weight_decay_as_the_paper_says() -> None:
    for model in ("inception", "alexnet"):
        found = {row.training: row.value for row in load("zhang") if row.model == model and row.quantity == "accuracy"}
        crop = found["crop"] - found["none"]  # type: ignore[operator]
        decay = found["weight decay"] - found["none"]  # type: ignore[operator]
        assert crop > decay > 0


def test_galloways_paper_and_readme_agree_to_the_point_that_the_readme_admits() -> None:
    for penalty in ("l1-3.25", "l2-3.25"):
        paper = value("galloway", f"paper/{penalty}/fgsm-0.25")
        assert paper + value("galloway", f"mnist-3-7/logistic/{penalty}/fgsm-0.25") == pytest.approx(100, abs=1.1)
    stored = "mnist-3-7/logistic/expert-l2-stored"
    assert value("galloway", f"{stored}/fgsm-0.25") < value("galloway", f"{stored}/fgsm-0.09")


def test_wongs_three_trainings_are_level_under_attack_and_far_apart_in_time() -> None:
    def of(training: str, what: str) -> float:
        return value("wong", f"cifar10/preact-resnet18/{training}/{what}")

    names = ("fgsm-random-start", "free", "pgd")
    robust = [of(name, "pgd-8-255") for name in names]
    minutes = [of(name, "none/training-time") for name in names]
    assert max(robust) - min(robust) < 1
    assert minutes == sorted(minutes) and minutes[-1] > 400 * minutes[0]


def test_trades_is_the_same_network_for_its_authors_and_for_robustbench() -> None:
    theirs = "cifar10/wide-resnet-34-10/trades"
    bench = "cifar10/wide-resnet-34-10/zhang-2019-trades"
    assert value("trades", f"{theirs}/none") == value("robustbench", f"{bench}/none")
    assert value("trades", f"{theirs}/pgd-20-0.031") > value("robustbench", f"{bench}/autoattack-8-255")


def test_goodfellows_numbers_fit_together() -> None:
    naive, trained = (value("goodfellow", f"mnist/{at}/fgsm-0.25") for at in ("maxout-240/none", "maxout/fgsm"))
    assert naive - trained == pytest.approx(71.5)
    for control in ("noise-of-eps", "uniform-noise-up-to-eps"):
        assert abs(value("goodfellow", f"mnist/maxout/{control}/fgsm-0.25") - naive) < 5


def test_every_claim_with_digits_goes_the_way_its_numbers_go() -> None:
    found = claims()
    signs = {"higher": 1, "lower": -1}
    digits = [claim for claim in found.values() if claim.difference is not None]
    assert len(digits) > 20
    for claim in digits:
        difference = claim.difference or 0.0
        if claim.direction == "same":
            assert abs(difference) <= 3, claim.id
        else:
            assert np.sign(difference) == signs[claim.direction], claim.id


def test_a_claim_is_no_surer_than_the_weaker_of_its_rows() -> None:
    assert claims()["mixup-fgsm"].evidence == "memory"
    assert claims()["rice-overfitting"].evidence == "recomputed"
    assert claims()["goodfellow-training"].evidence == "verified"


def test_an_unknown_table_is_a_usage_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="madry"):
        load("madri")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,says\na,b\n", "columns"),
        ("HEAD\n" + ",".join("abcdefghijklm") + "\n", "one a column"),
        ("HEAD\n" + ",".join(["a"] * 10 + ["much", "%", "verified", ""]) + "\n", "numbers"),
    ],
)
def test_a_damaged_table_is_a_data_error(text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = ",".join(Row.__dataclass_fields__)
    (tmp_path / "broken.csv").write_text(text.replace("HEAD", head))
    monkeypatch.setattr(room, "_folder", lambda: tmp_path)
    with pytest.raises(DataError, match=says):
        load.__wrapped__("broken")


def test_the_room_needs_no_torch() -> None:
    code = "import sys; from robustreg.reference import claims; claims(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def study(left: list[float], right: list[float]) -> dict[str, object]:
    def runs(values: list[float]) -> list[dict[str, object]]:
        return [
            {"seed": n, "label_condition": "true", "status": "ok", "measures": {"m": v, "c": {"0.1": v}}}
            for n, v in enumerate(values)
        ]

    return {"arms": [{"arm": "none", "runs": runs(right)}, {"arm": "a", "runs": runs(left)}]}


@pytest.mark.parametrize(
    ("claim", "shift", "word"),
    [
        ("madry-robust", 0.2, "reproduced"),
        ("madry-robust", -0.2, "contradicted"),
        ("madry-robust", 0.0, "cannot tell"),
        ("madry-collapse", -0.2, "reproduced"),
        ("madry-collapse", 0.2, "contradicted"),
        ("zhang-fits", 0.001, "reproduced"),
        ("zhang-fits", 0.2, "contradicted"),
        ("zhang-fits", 0.028, "cannot tell"),
    ],
)
def test_the_word_follows_from_the_interval_of_the_paired_difference(claim: str, shift: float, word: str) -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(0.5, 0.2, 5)
    noise = np.array([-0.01, -0.005, 0.0, 0.005, 0.01])
    left = right + shift + noise
    found = judge(Tie(claim, "a", "m"), study(list(left), list(right)))
    low, high = scipy.stats.t.interval(0.95, 4, loc=shift, scale=scipy.stats.sem(noise))
    assert (found.difference, found.low, found.high) == pytest.approx((shift, low, high), abs=1e-9)
    assert (found.left, found.right) == pytest.approx((left.mean(), right.mean()))
    assert (found.word, found.seeds) == (word, 5)


def test_a_run_that_failed_takes_its_pair_with_it_and_one_seed_tells_nothing() -> None:
    whole = study([0.9, 0.8], [0.1, 0.2])
    whole["arms"][1]["runs"][0]["status"] = "diverged"  # type: ignore[index]
    found = judge(Tie("madry-robust", "a", "m"), whole)
    assert (found.word, found.seeds, found.left, found.low) == ("cannot tell", 1, 0.8, None)
    with pytest.raises(UsageError, match="no seed"):
        judge(Tie("madry-robust", "a", "m", condition="random:1.0"), whole)
    with pytest.raises(UsageError, match="no arm 'b'"):
        judge(Tie("madry-robust", "b", "m"), whole)


def test_a_point_of_a_curve_and_another_measure_can_be_compared() -> None:
    found = judge(Tie("madry-robust", "a", "c@0.1", against_arm="a", against_measure="m"), study([0.3, 0.4], [0, 0]))
    assert (found.left, found.difference) == (pytest.approx(0.35), 0)


def test_a_study_that_names_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[[claim]]\nid = "no-such-claim"\narm = "none"\nmeasure = "m"\n')
    with pytest.raises(UsageError, match="no-such-claim"):
        ties(file)
    file.write_text('[[claim]]\nid = "madry-robust"\narm = "none"\n')
    with pytest.raises(DataError, match="measure"):
        ties(file)
    file.write_text("[[claim]\n")
    with pytest.raises(DataError, match=r"study\.toml"):
        ties(file)


def test_what_was_measured_reads_as_it_was_written_and_replaces_its_own_study_only(tmp_path: Path) -> None:
    found = judge(Tie("madry-robust", "a", "m"), study([0.9, 0.8, 0.85], [0.1, 0.2, 0.1]))
    line = measured("b", Tie("madry-robust", "a", "m", condition="random:1.0", against_condition="true"), found)
    assert (line.left, line.right) == ("m of a [random:1.0]", "m of none")
    assert (line.left_mean, line.right_mean, line.difference, line.seeds) == ("85.0", "13.3", "71.7", "3")
    reference.write_measured(tmp_path, [line])
    reference.write_measured(tmp_path, [replace(line, study="a"), replace(line, study="a", claim="madry-mnist")])
    reference.write_measured(tmp_path, [replace(line, word="contradicted")])
    assert [(one.study, one.word) for one in read_measured(tmp_path)] == [
        ("a", "reproduced"), ("a", "reproduced"), ("b", "contradicted"),
    ]  # fmt: skip
    (tmp_path / "measured.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="columns"):
        read_measured(tmp_path)


def test_what_was_measured_is_of_studies_and_claims_that_are_there_and_its_word_is_that_of_its_numbers() -> None:
    lines = read_measured(STUDIES)
    tied = {(path.stem, tie.claim) for path in STUDIES.glob("*.toml") for tie in ties(path)}
    assert {(line.study, line.claim) for line in lines} == {pair for pair in tied if not pair[0].startswith("gpu")}
    for line in lines:
        low, difference, high = float(line.low), float(line.difference), float(line.high)
        direction = claims()[line.claim].direction
        assert low <= difference <= high
        assert abs(float(line.left_mean) - float(line.right_mean) - difference) <= 0.11
        if line.word == "reproduced" and direction != "same":
            assert low >= 0 if direction == "higher" else high <= 0
        if line.word == "reproduced" and direction == "same":
            assert low >= -3 and high <= 3


def test_the_page_is_what_the_tables_and_studies_say() -> None:
    assert (STUDIES.parents[1] / "docs" / "reference.md").read_text(encoding="utf-8") == page(STUDIES)


def test_the_page_shows_every_number() -> None:
    text = page(STUDIES)
    for name, row in ROWS:
        if row.value is not None:
            assert f"### {name}\n" in text and f"{row.value:g}" in text
    for claim in claims().values():
        if any(line.claim == claim.id for line in read_measured(STUDIES)):
            assert claim.says in text
