"""Statistics that metrics, losses and the reading of experiments share."""

from dfl.stats.bands import simultaneous_factor
from dfl.stats.bootstrap import Bootstrap, Estimate
from dfl.stats.intervals import interval_factor, two_sided_p_value
from dfl.stats.multiple_testing import Correction, adjust_p_values
from dfl.stats.paired import PairedComparison, paired_difference, paired_ratio

__all__ = [
    "Bootstrap",
    "Correction",
    "Estimate",
    "PairedComparison",
    "adjust_p_values",
    "interval_factor",
    "paired_difference",
    "paired_ratio",
    "simultaneous_factor",
    "two_sided_p_value",
]
