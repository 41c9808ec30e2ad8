"""Reports: tables, plots and one self-contained page per run."""

# dfl.report.report stays out: it imports matplotlib, which `dfl list` should not wait for.
from dfl.report.tables import Table, comparison_tables, run_tables

__all__ = ["Table", "comparison_tables", "run_tables"]
