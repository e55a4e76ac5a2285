"""The tables of a search: both selections on test images, and what the budget bought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..report.capture import captured
from ..report.table import STYLES
from ..report.wording import eps_text, plain
from ..spec import parse
from ..study import BASELINE
from .result import SELECTIONS, rate_of
from .space import MODEL, RATE

if TYPE_CHECKING:
    from .result import Final, Tuning

BY = {"clean": "val clean", "robust": "val worst", "default": "default"}
NOTHING = "–"
WIDE = 115  # columns of a terminal from which an interval stays on one line


def tables(tuning: Tuning, *, width: int = 120) -> Group:
    """Return the two tables as a rich renderable, for so many columns."""
    return Group(selections(tuning, width=width), Text(), budgets(tuning))


def tables_text(tuning: Tuning, width: int = 120) -> str:
    """Return the tables as text of at most `width` columns, without colours."""
    return captured(tables(tuning, width=width), width)


def print_tables(tuning: Tuning, console: Console) -> None:
    """Print the tables to a console, in its width and with its colours."""
    console.print(tables(tuning, width=console.width))


def selections(tuning: Tuning, *, width: int = 120) -> Table:
    """Return the table of selections: for each arm what either criterion selected, and the declared default."""
    study = tuning.study
    made = _table(
        "Accuracies in %, on test images as mean and 95 % interval over"
        f" {len(study['seeds'])} seed{'s' * (len(study['seeds']) > 1)}, with the difference in points to none selected"
        " alike and the word. Rate: the learning rate. Worst: no attack of"
        f" {', '.join(map(plain, study['attacks']))} or FGSM broke the image at eps {eps_text(study['headline_eps'])}"
        f" ({plain(study['norm'])}). Bias: the validation accuracy it was selected by minus the same on test images,"
        " in points. Used: how often the test images were used for this configuration."
    )
    made.add_column("arm", overflow="fold")
    made.add_column("selected\nby", overflow="fold")
    made.add_column("what was selected", overflow="fold")
    made.add_column("rate", justify="right", overflow="fold")
    for name in ("val\nclean", "val\nworst"):
        made.add_column(name, justify="right", overflow="fold")
    for name in ("test clean", "test worst"):
        made.add_column(name, overflow="fold", no_wrap=width >= WIDE)  # not to be squeezed
    made.add_column("bias", justify="right", overflow="fold")
    made.add_column("used", justify="right", overflow="fold")
    for arm in tuning.arms:
        for by in SELECTIONS:
            made.add_row(*_selection(tuning, arm, by), end_section=by == SELECTIONS[-1])
    return made


def budgets(tuning: Tuning) -> Table:
    """Return the table of what the budget bought each arm: the expected best of 1, some and all draws, and of those
    that the compute of the baseline pays for."""
    most = max(len(trials) for trials in tuning.trials.values())
    shown = sorted({1, max(1, most // 2), most})
    made = _table(
        "Expected best validation accuracy in % of so many draws, clean / worst (unbiased, over all subsets of the"
        " draws). Cost: gradient passes of a draw, in those of none. Equal compute: of the draws that the passes of"
        " all draws of none pay for."
    )
    made.add_column("arm", overflow="fold")
    made.add_column("draws", justify="right", overflow="fold")
    made.add_column("lost", justify="right", overflow="fold")
    for number in shown:
        made.add_column(f"best of {number}" if number > 1 else "one draw", justify="right", overflow="fold")
    made.add_column("cost", justify="right", overflow="fold")
    made.add_column("at equal compute", justify="right", overflow="fold")
    for arm in tuning.arms:
        trials, curve, compute = tuning.trials[arm], tuning.curves[arm], tuning.compute[arm]
        lost = sum(trial.status != "ok" for trial in trials)
        cells = [_pair(*(curve[by][number - 1] for by in curve)) if number <= len(trials) else NOTHING
                 for number in shown]  # fmt: skip
        cost = NOTHING if compute.cost is None else f"{compute.cost:.2g} x"
        equal = f"{_pair(*(at[1] for at in compute.expected.values()))} of {compute.affordable}"
        made.add_row(Text(plain(arm), style="bold"), str(len(trials)), str(lost), *cells, cost, equal)
    return made


def chosen(final: Final) -> str:
    """Return what was selected, without the learning rate."""
    terms = [str(term) for term in parse(final.spec).terms if term.name != RATE]
    return "+".join(terms) or BASELINE


def _selection(tuning: Tuning, arm: str, by: str) -> list[Text]:
    first = Text(plain(arm) if by == SELECTIONS[0] else "", style="bold")
    final = tuning.final(arm, by)
    if final is None:
        return [first, Text(BY[by]), Text("nothing: no draw left a usable model"), *[Text(NOTHING)] * 7]
    trial = final.trial
    about = chosen(final)
    if tuning.spaces[0].model is not None:
        of_model = [] if trial is None else [name for name in trial.values if name.startswith(f"{MODEL}.")]
        options = [f"{name.partition('.')[2]}={trial.values[name]}" for name in of_model if trial]
        about += f"\n{', '.join(options) or final.model}"
    bias = NOTHING if final.bias is None else f"{100 * final.bias:+.1f}"
    return [
        first,
        Text(BY[by]),
        Text("\n".join(map(plain, about.splitlines()))),
        Text(f"{rate_of(final, tuning.study):.3g}"),
        Text(_percent(None if trial is None else trial.clean)),
        Text(_percent(None if trial is None else trial.robust)),
        _test(tuning, final, "clean"),
        _test(tuning, final, "robust"),
        Text(bias),
        Text(str(final.used)),
    ]


def _test(tuning: Tuning, final: Final, what: str) -> Text:
    found = final.test(what)
    if found is None:
        return Text(NOTHING)
    cell = Text(f"{100 * found.mean:.1f}")
    if found.low is not None and found.high is not None:
        cell.append(f" [{100 * max(0.0, found.low):.1f}, {100 * min(1.0, found.high):.1f}]")
    if found.n < len(tuning.study["seeds"]):
        cell.append(f"\n{found.n} of {len(tuning.study['seeds'])} seeds")
    against = tuning.differences.get((final.arm, final.by), {}).get(what)
    if against is not None:
        cell.append(f"\n{100 * against['difference']:+.1f} ").append(against["word"], style=STYLES[against["word"]])
    return cell


def _table(caption: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
        caption=Text(caption),
        caption_justify="left",
    )


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f}"


def _pair(clean: float, robust: float) -> str:
    return f"{100 * clean:.1f} / {100 * robust:.1f}"
