"""Reading experiments: estimators of the effect, and what must hold before any is believed."""

from dfl.abtest.aipw import Aipw
from dfl.abtest.base import AbstractEstimator, Effect, Fit
from dfl.abtest.checks.aa import AaResult, aa_test
from dfl.abtest.checks.assignment import (
    Leak,
    LeakWarning,
    SampleRatio,
    check_experiment,
    find_leaks,
    sample_ratio,
)
from dfl.abtest.checks.power import PowerPlan
from dfl.abtest.cupac import Cupac
from dfl.abtest.cuped import Cuped
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.huber import Huber
from dfl.abtest.mlrate import Mlrate
from dfl.abtest.reading.read_out import Reading, ReadOut, Refusal, read_out
from dfl.abtest.regression.cross_fit import CrossFit, Regressor
from dfl.abtest.robust.student_t import StudentTFit, TParameters, fit_t_regression
from dfl.abtest.robust.verdict import SameEffectCheck, same_effect_check
from dfl.abtest.rows.contrast import Contrast, linearise
from dfl.abtest.rows.experiment import Experiment
from dfl.abtest.state import State
from dfl.abtest.winsorised import Winsorised
from dfl.errors import SampleRatioError
from dfl.registry import Registry
from dfl.stats.multiple_testing import adjust_p_values

__all__ = [
    "ESTIMATORS",
    "AaResult",
    "AbstractEstimator",
    "Aipw",
    "Contrast",
    "CrossFit",
    "Cupac",
    "Cuped",
    "DifferenceInMeans",
    "Effect",
    "Experiment",
    "Fit",
    "Huber",
    "Leak",
    "LeakWarning",
    "Mlrate",
    "PowerPlan",
    "ReadOut",
    "Reading",
    "Refusal",
    "Regressor",
    "SameEffectCheck",
    "SampleRatio",
    "SampleRatioError",
    "State",
    "StudentTFit",
    "TParameters",
    "Winsorised",
    "aa_test",
    "adjust_p_values",
    "check_experiment",
    "find_leaks",
    "fit_t_regression",
    "linearise",
    "read_out",
    "same_effect_check",
    "sample_ratio",
]

ESTIMATORS: Registry[AbstractEstimator] = Registry(
    "abtest",
    AbstractEstimator,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "aipw": "dfl.abtest.aipw:Aipw",
        "cupac": "dfl.abtest.cupac:Cupac",
        "cuped": "dfl.abtest.cuped:Cuped",
        "difference-in-means": "dfl.abtest.difference_in_means:DifferenceInMeans",
        "huber": "dfl.abtest.huber:Huber",
        "mlrate": "dfl.abtest.mlrate:Mlrate",
        "state": "dfl.abtest.state:State",
        "winsorised": "dfl.abtest.winsorised:Winsorised",
    },
)
