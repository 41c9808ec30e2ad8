"""Statistics that metrics, losses and the reading of experiments share."""

from dfl.stats.across import across
from dfl.stats.bands import simultaneous_factor
from dfl.stats.bootstrap import Bootstrap, Estimate
from dfl.stats.intervals import interval_factor, two_sided_p_value
from dfl.stats.multiple_testing import Correction, adjust_p_values
from dfl.stats.paired import PairedComparison, paired_difference, paired_ratio
from dfl.stats.ranks import Ranks, ranks

__all__ = [
    "Bootstrap",
    "Correction",
    "Estimate",
    "PairedComparison",
    "Ranks",
    "across",
    "adjust_p_values",
    "interval_factor",
    "paired_difference",
    "paired_ratio",
    "ranks",
    "simultaneous_factor",
    "two_sided_p_value",
]
