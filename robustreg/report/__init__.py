"""Reports: a study as a table, as figures, and as files."""

from .figures import FIGURES
from .plain_json import to_json
from .table import print_table, table, table_text
from .write import Written, write_report

__all__ = ["FIGURES", "Written", "print_table", "table", "table_text", "to_json", "write_report"]
