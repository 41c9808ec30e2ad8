"""Reading experiments: estimators of the effect, and what must hold before any is believed."""

from dfl.abtest.aa import AaResult, aa_test
from dfl.abtest.base import AbstractEstimator
from dfl.abtest.checks import check_experiment
from dfl.abtest.contrast import Contrast
from dfl.abtest.cross_fit import CrossFit, Regressor
from dfl.abtest.effect import Effect, Fit
from dfl.abtest.experiment import Experiment
from dfl.abtest.hausman import SameEffectCheck, same_effect_check
from dfl.abtest.leaks import Leak, LeakWarning, find_leaks
from dfl.abtest.linearise import linearise
from dfl.abtest.multiple_testing import adjust_p_values
from dfl.abtest.power import PowerPlan
from dfl.abtest.read_out import Reading, ReadOut, Refusal, read_out
from dfl.abtest.sample_ratio import SampleRatio, SampleRatioError, sample_ratio
from dfl.abtest.student_t import StudentTFit, TParameters, fit_t_regression
from dfl.registry import Registry

__all__ = [
    "ESTIMATORS",
    "AaResult",
    "AbstractEstimator",
    "Contrast",
    "CrossFit",
    "Effect",
    "Experiment",
    "Fit",
    "Leak",
    "LeakWarning",
    "PowerPlan",
    "ReadOut",
    "Reading",
    "Refusal",
    "Regressor",
    "SameEffectCheck",
    "SampleRatio",
    "SampleRatioError",
    "StudentTFit",
    "TParameters",
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
