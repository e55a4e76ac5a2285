"""Verdict cards: for each arm three answers in fixed words, what FGSM alone would have said, trust, and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .capture import captured
from .table import STYLES, TIGHT
from .wording import counted, denominator, eps_text, interval_text, plain

if TYPE_CHECKING:
    from ..study import Comparison

ANSWERS = {"clean": "clean accuracy", "memorization": "wrong labels memorized", "robustness": "robust accuracy"}
FEW = 4  # flags that are named one by one


def cards(comparison: Comparison, *, width: int = 120) -> Group:
    """Return one card an arm as a rich renderable, in the order of the study; a red flag makes a card grey.

    `width`: the columns they will be printed in.
    """
    from ..study.card import card

    return Group(*(_card(card(comparison, arm), width < TIGHT) for arm in comparison.arms))


def cards_text(comparison: Comparison, width: int = 80) -> str:
    """Return the cards as text of at most `width` columns, without colours."""
    return captured(cards(comparison, width=width), width)


def print_cards(comparison: Comparison, console: Console) -> None:
    """Print the cards to a console, in its width and with its colours."""
    console.print(cards(comparison, width=console.width))


def _card(values: Mapping[str, Any], tight: bool) -> Padding:
    grey = "" if values["believable"] else "dim"
    rows = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        rows.add_column(no_wrap=not tight, overflow="fold")  # not to be squeezed
    rows.add_column(overflow="fold")
    for name, label in ANSWERS.items():
        rows.add_row(*_answer(label, values[name], colour=not grey))
    rows.add_row(*_answer("FGSM alone (weak)", values["fgsm_alone"], colour=False, quoted=True))
    below = (Padding(each, (0, 0, 0, 2), expand=False) for each in (rows, _notes(values)))
    return Padding(Group(_heading(values), *below), (0, 0, 1, 0), style=grey, expand=False)


def _heading(values: Mapping[str, Any]) -> Text:
    own = values["arm"] == values["baseline"]
    heading = Text(plain(values["arm"]), style="bold", overflow="fold")
    heading.append("" if own else f" against {plain(values['baseline'])}", style="not bold")
    seeds = counted(values["seeds"], "seed")
    sure = f"{seeds}, preliminary" if values["preliminary"] else seeds
    heading.append(f" · {plain(values['data'])} · {plain(values['model'])} · {sure}", style="not bold")
    if not values["believable"]:
        heading.append(" · RED FLAG", style="red")
    return heading


def _answer(label: str, answer: Mapping[str, Any], *, colour: bool, quoted: bool = False) -> list[Text]:
    """A row: what it is about, the two means in %, their difference in points, and the word."""
    mean, baseline, difference, word = (answer[key] for key in ("mean", "baseline", "difference", "word"))
    against = "" if difference is None or baseline is None else f" vs {100 * baseline:.1f}"
    numbers = "–" if mean is None else f"{100 * mean:.1f}{against} %"
    change = "" if difference is None else f"{100 * difference:+.1f} {interval_text(answer)}".rstrip()
    said = Text(f"“{word}”" if word and quoted else word or "", style=STYLES.get(word or "", "") if colour else "")
    if word == "cannot tell" and not quoted and answer["detectable"]:
        said.append(f", could see {100 * answer['detectable']:.1f}")
    return [Text(label), Text(numbers), Text(change), said]


def _notes(values: Mapping[str, Any]) -> Text:
    flags = values["trust"]
    checked = any(flags.values())
    said = Text(f"trust: {flags['green']} green" if checked else "trust: not checked")
    for level, style in (("amber", "yellow"), ("red", "red")):
        names = [plain(name).replace("_", " ") for name in flags[level]]
        if names:
            more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
            said.append(", ").append(f"{len(names)} {level} ({', '.join(names[:FEW])}{more})", style=style)
    if values["cost"] is not None:
        said.append(f" · cost: {values['cost']:.1f} x training")
    if values["attacks"]:
        at = f"eps {eps_text(values['eps'])} ({plain(values['norm'])})"
        said.append(f"\n{at}, empirical, worst of {counted(values['attacks'], 'attack')} and FGSM")
    else:
        said.append("\nThe worst case of attacks was not measured: nothing is said about robustness.")
    word = values["robustness"]["word"]
    if word in ("better", "worse"):
        others = [eps for eps in values["holds_at"] if eps not in (0, values["eps"])]
        below = denominator(others)
        listed = ", ".join(f"{eps:.3g}" if below is None else f"{round(eps * below)}/{below}" for eps in others)
        said.append(f"; {word} also at {listed}" if others else f"; {word} at no other eps")
    if not values["believable"]:
        said.append("\nWith a red flag no robustness is called better.", style="red")
    return said
