"""`check_experiment`: what must hold before any metric is read."""

from dfl.abtest.checks.leaks import Leak, warn_of_leaks
from dfl.abtest.checks.sample_ratio import SampleRatio, check_sample_ratio
from dfl.abtest.rows.experiment import Experiment

__all__ = ["check_experiment"]


def check_experiment(experiment: Experiment) -> tuple[SampleRatio, tuple[Leak, ...]]:
    """Check that the assignment was random as planned, and the covariates untouched by it.

    Args:
        experiment: rows of all arms.

    Raises:
        SampleRatioError: if the arms' sizes contradict the plan.

    Warns:
        LeakWarning: if a covariate differs between the arms more than chance allows.
    """
    return check_sample_ratio(experiment), warn_of_leaks(experiment)
