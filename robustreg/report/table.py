"""The table of a study: one row an arm, each endpoint with its spread, its difference to the baseline and the word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .capture import captured
from .series import MEMORIZED, noisiest, values
from .wording import SAME, counted, eps_text, interval_text, lost, plain, preliminary, seeds_text

if TYPE_CHECKING:
    from ..study import Comparison

COLUMNS = ("clean_accuracy", MEMORIZED, "fgsm_accuracy", "robust_accuracy")
WIDE = 105  # columns of a terminal from which an interval stands beside its difference
TIGHT = 72  # and below which even the numbers have to be folded
STYLES = {"better": "green", "worse": "red", "equivalent": "cyan", "cannot tell": "dim"}

NAME = 20  # columns for the name of an arm that are not given up, where there is room


def table(comparison: Comparison, *, width: int = 120) -> Table:
    """Return the table as a rich renderable: the baseline first, then the other arms in the order of the study.

    A cell holds mean ± standard deviation in %, then the paired difference to the baseline in points with its
    interval, then the word; FGSM has no word, since it never judges alone. `width`: the columns it will be printed in.
    """
    narrow, tight = width < WIDE, width < TIGHT
    eps = f"eps {comparison.study['headline_eps']:.3g}"
    made = Table(
        box=box.SIMPLE_HEAD,
        show_lines=True,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=narrow,
        caption=_caption(comparison),
        caption_justify="left",
    )
    longest = max(len(plain(arm)) for arm in comparison.arms)
    made.add_column("arm", overflow="fold", min_width=min(longest, NAME) if not narrow else None)
    headings = ("clean\naccuracy %", "memorized\n% of wrong\nlabels", f"FGSM\n(weak) %\n{eps}", f"worst\ncase %\n{eps}")
    shown = {name: heading for name, heading in zip(COLUMNS, headings, strict=True) if name in comparison.measures}
    for heading in shown.values():
        made.add_column(Text(heading, no_wrap=False, overflow="fold"), no_wrap=not tight)  # not to be squeezed
    made.add_column("trust", overflow="fold")
    for arm in comparison.arms:
        cells = [_cell(comparison, arm, measure, narrow) for measure in shown]
        made.add_row(Text(plain(arm), style="bold"), *cells, _trust(comparison, arm))
    return made


def table_text(comparison: Comparison, width: int = 120) -> str:
    """Return the table as text of at most `width` columns, without colours."""
    return captured(table(comparison, width=width), width)


def print_table(comparison: Comparison, console: Console) -> None:
    """Print the table to a console, in its width and with its colours."""
    console.print(table(comparison, width=console.width))


def _cell(comparison: Comparison, arm: str, measure: str, narrow: bool) -> Text:
    from ..statistics import mean_interval

    found = values(comparison, arm, measure)
    if not found:
        return Text("–")
    summary = mean_interval(list(found.values()))
    lines = [f"{100 * summary.mean:.1f}" + ("" if summary.sd is None else f" ± {100 * summary.sd:.1f}")]
    if summary.n < len(comparison.study["seeds"]) or summary.n == 1:
        lines.append(f"{counted(summary.n, 'seed')} only")
    against = comparison.differences[arm].get(measure) if values(comparison, comparison.arms[0], measure) else None
    word = ""
    if against is not None:
        difference = f"{100 * against['difference']:+.1f}"
        if measure == "fgsm_accuracy":
            lines.append(difference)
        else:
            word = against["word"]
            interval = interval_text(against)
            lines += [difference, interval.replace(", ", ",")] if narrow else [f"{difference} {interval}"]
    cell = Text("\n".join(line for line in lines if line), no_wrap=False, overflow="fold")
    return cell.append(f"\n{word}", style=STYLES[word]) if word else cell


def _trust(comparison: Comparison, arm: str) -> Text:
    flags = comparison.trust[arm]
    said = Text()
    runs = lost(comparison, arm)
    if runs:
        said.append(f"{runs}\n", style="red")
    for level, style in (("red", "red"), ("amber", "yellow")):
        raised = [flag["flag"] for flag in flags if flag["level"] == level]
        names = [plain(flag).replace("_", " ") for flag in raised if flag not in ("failed", "diverged")]
        if names:
            said.append(f"{level}: {', '.join(names)}\n", style=style)
    green = sum(flag["level"] == "green" for flag in flags)
    said.append(f"{green} green" if green else "" if said else "not checked")
    said.rstrip()
    return said


def _caption(comparison: Comparison) -> Text:
    from ..study.protocol import judges

    study = comparison.study
    condition = noisiest(comparison)
    seeds = seeds_text(comparison)
    sure = "protocol: preliminary, no p-values" if preliminary(study) else "protocol"
    only = study.get("measures")
    unit = "in pixel units, 0 to 1" if study["norm"] == "linf" else "the length of the change, in pixel units"
    said = [
        f"{plain(study['data'])} · {plain(study['model'])} ({study['parameters']:,} parameters) · {seeds} ·"
        f" {study['protocol']} {sure}.",
        "In each cell: mean ± standard deviation over seeds in %, then the paired difference to"
        f" {plain(comparison.arms[0])} in points with its 95 % interval, and the word.",
    ]
    judged = [name for name in COLUMNS if name != "fgsm_accuracy"]
    found = [each[name] for each in comparison.differences.values() for name in judged if name in each]
    if any(interval_text(against) == SAME for against in found):
        said.append(f"{SAME}: the same difference on each, so no interval is known.")
    if comparison.measures.keys() & {"fgsm_accuracy", "robust_accuracy"}:
        said.append(
            f"eps is {unit}: {eps_text(study['headline_eps'])} ({plain(study['norm'])}). Worst case:"
            f" no attack of {plain(judges(study, 'or'))} broke the image. FGSM is weak: it never judges alone."
        )
    if MEMORIZED in comparison.measures:
        said.append(
            f"Memorized: after training on {condition} labels." if condition else "No random labels in this study."
        )
    if only:
        said.append(f"Nothing was measured but {', '.join(map(plain, only))}; what is no column is in summary.csv.")
    return Text(" ".join(said))
