"""Metrics: what an allocation earns and how sure that is, from logs or from the truth."""

from dfl.metrics.aucc import CostCurve, aucc, cost_curve, mt_aucc, true_aucc
from dfl.metrics.constant_mix import best_constant_mix
from dfl.metrics.eom import ExpectedOutcome, eom_curve, expected_outcome
from dfl.metrics.gain_curve import GainCurve, budget_needed, gain_curve, integrated_difference
from dfl.metrics.qini import Qini, normalised_qini, qini
from dfl.metrics.random_allocation import random_allocation
from dfl.metrics.rate import Rate, rate
from dfl.metrics.roi_score import roi_score
from dfl.metrics.rows.constant_policy import ReferenceOutcome
from dfl.metrics.rows.randomised_rows import UnsafeEstimatorWarning
from dfl.metrics.spend_curve import CurvePoint, SpendCurve, observed_curve, true_curve
from dfl.metrics.truth import (
    TrueOutcome,
    TruePolicyValue,
    TrueScale,
    check_not_above_oracle,
    true_policy_value,
)
from dfl.stats.bootstrap import Bootstrap, Estimate
from dfl.stats.paired import PairedComparison, paired_difference, paired_ratio

__all__ = [
    "Bootstrap",
    "CostCurve",
    "CurvePoint",
    "Estimate",
    "ExpectedOutcome",
    "GainCurve",
    "PairedComparison",
    "Qini",
    "Rate",
    "ReferenceOutcome",
    "SpendCurve",
    "TrueOutcome",
    "TruePolicyValue",
    "TrueScale",
    "UnsafeEstimatorWarning",
    "aucc",
    "best_constant_mix",
    "budget_needed",
    "check_not_above_oracle",
    "cost_curve",
    "eom_curve",
    "expected_outcome",
    "gain_curve",
    "integrated_difference",
    "mt_aucc",
    "normalised_qini",
    "observed_curve",
    "paired_difference",
    "paired_ratio",
    "qini",
    "random_allocation",
    "rate",
    "roi_score",
    "true_aucc",
    "true_curve",
    "true_policy_value",
]
