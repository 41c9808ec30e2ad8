"""Statistics that metrics, losses and the reading of experiments share."""

from dfl.stats.intervals import interval_factor, two_sided_p_value
from dfl.stats.multiple_testing import Correction, adjust_p_values

__all__ = ["Correction", "adjust_p_values", "interval_factor", "two_sided_p_value"]
