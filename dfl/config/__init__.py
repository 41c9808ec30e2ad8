"""Configurations: from YAML to parts that fit, and back."""

from dfl.config.comparison import Comparison, read_comparison
from dfl.config.dry_run import Check
from dfl.config.sources import (
    change,
    choose_data,
    choose_part,
    load_config,
    shipped_names,
    shipped_summary,
)
from dfl.config.study import Study, read_solver, read_study
from dfl.config.suite import Suite, load_suite, read_suite, suite_names, suite_summary
from dfl.config.yaml_text import from_yaml, read_yaml, to_yaml

__all__ = [
    "Check",
    "Comparison",
    "Study",
    "Suite",
    "change",
    "choose_data",
    "choose_part",
    "from_yaml",
    "load_config",
    "load_suite",
    "read_comparison",
    "read_solver",
    "read_study",
    "read_suite",
    "read_yaml",
    "shipped_names",
    "shipped_summary",
    "suite_names",
    "suite_summary",
    "to_yaml",
]
