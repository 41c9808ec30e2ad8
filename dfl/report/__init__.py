"""Reports: tables, plots and one self-contained page per run."""

from dfl.report.tables import Table, comparison_tables, run_tables

__all__ = ["Table", "comparison_tables", "run_tables"]
