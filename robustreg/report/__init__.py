"""Reports: a study as a table, as figures, and as files."""

from .cards import cards, cards_text, print_cards
from .figures import FIGURES
from .plain_json import to_json
from .table import print_table, table, table_text
from .write import Written, set_aside, write_report

__all__ = [
    "FIGURES",
    "Written",
    "cards",
    "cards_text",
    "print_cards",
    "print_table",
    "set_aside",
    "table",
    "table_text",
    "to_json",
    "write_report",
]
