"""The design of the maq package's study of the get-out-the-vote letters, by two estimators.

Households are halved; on one half a T-learner (gradient boosting, one model a letter) learns the
chance of a vote from nine features; on the other half its plan for a budget is valued. Letters cost
0, 1, 15, 30 and 45. ``python -m benchmarks.gotv_design GOTV.parquet --halves 20`` prints, of both
estimators, the gain over no letters in votes per head with standard errors by household; without
a file the simulator `coupon` stands in, with the budget share .3 and its truth beside.

Sverdrup, Wu, Athey and Wager (2024), arXiv:2306.11979, for the design and the second estimator:
inverse propensity scores along the plan for known costs. The package itself is not on the package
index; its half-sample standard errors are replaced by the exact ones of a mean over households.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from dfl import AllocationProblem, Budget
from dfl.data import CouponSimulator, PartSizes, UpliftData, load, split
from dfl.metrics import expected_outcome, paired_difference
from dfl.solvers import GreedyDual
from dfl.stats.bootstrap import Bootstrap

COSTS = (0.0, 1.0, 15.0, 30.0, 45.0)
ENCODED = 10  # nine of the file's eleven features, sex as two columns: no turnout of neighbourhoods


@dataclass(frozen=True)
class Valued:
    """A plan's gain over treatment 0 for everyone, in revenue per head, with standard errors.

    Args:
        ours: doubly robust, the budget met in observed costs.
        scores: inverse propensity scores, the budget met in known costs.
        truth: where it is known.
    """

    ours: tuple[float, float]
    scores: tuple[float, float]
    truth: float | None = None


def t_learner(train: UpliftData, features: Tensor, seed: int) -> Tensor:
    """Return predicted revenue of each treatment ``(N, M)``, a boosted model for each."""
    columns = []
    for arm in range(train.treatments):
        own = train.treatment == arm
        model = HistGradientBoostingRegressor(
            max_iter=100,
            learning_rate=0.05,
            max_leaf_nodes=15,
            min_samples_leaf=200,
            random_state=seed,
        )
        model.fit(train.features[own].numpy(), train.revenue[own].numpy())
        columns.append(torch.from_numpy(model.predict(features.numpy())))
    return torch.stack(columns, dim=1)


def valued(train: UpliftData, test: UpliftData, budget: Budget, seed: int, draws: int) -> Valued:
    """Plan by a T-learner and each treatment's mean cost, and value the plan on the other half."""
    revenue = t_learner(train, test.features, seed)
    arms = range(train.treatments)
    means = torch.stack([train.cost[train.treatment == arm].double().mean() for arm in arms])
    cost = means.expand(len(test), -1)
    each = budget.total_of(cost) / len(test)
    budgets = [Budget(per_head=float(means.min())), Budget(per_head=each)]
    redraw = Bootstrap(draws=draws, seed=seed)
    none, plan = expected_outcome(test, revenue, cost, budgets, bootstrap=redraw)
    gain = paired_difference(plan.estimate, none.estimate).estimate
    choice = GreedyDual().solve(AllocationProblem(revenue, cost, each * len(test))).choice
    truth = None
    if test.truth is not None:
        earned = test.truth.revenue.gather(1, choice[:, None])[:, 0] - test.truth.revenue[:, 0]
        truth = float(earned.mean())
    return Valued((gain.value, gain.standard_error), by_scores(test, choice), truth)


def by_scores(test: UpliftData, choice: Tensor) -> tuple[float, float]:
    """Return the mean of ``1[t = choice] y / p_t - 1[t = 0] y / p_0``, and its error by group."""
    share = test.treatment.bincount(minlength=test.treatments) / len(test)
    weighted = (test.revenue / share[test.treatment]).double()
    gain = weighted * (test.treatment == choice) - weighted * (test.treatment == 0)
    gain = gain.where(choice != 0, 0)
    groups = torch.arange(len(test)) if test.groups is None else test.groups
    ids, place = groups.unique(return_inverse=True)
    sums = torch.zeros(len(ids), dtype=torch.float64).index_add(0, place, gain - gain.mean())
    return float(gain.mean()), float(sums.square().sum().sqrt() / len(test))


def halves(data: UpliftData, seed: int) -> tuple[UpliftData, UpliftData]:
    """Split rows in two; households stay together."""
    first, second = split(data, (0.5, 0.5), seed=seed)
    return first, second


def simulated(seed: int, rows: int) -> tuple[UpliftData, UpliftData]:
    """Draw two halves of randomised coupons, at a price for each coupon as letters have."""
    sizes = PartSizes(rct=rows, obs=200, validation=200, test=rows)
    drawn = CouponSimulator(sizes=sizes).hybrid(seed)
    prices = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.3])
    first, second = (replace(one, cost=prices[one.treatment]) for one in (drawn.rct, drawn.test))
    return first, second


def main() -> None:
    """Run as the first paragraph says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--halves", type=int, default=20)
    parser.add_argument("--draws", type=int, default=100)
    given = parser.parse_args()
    found = []
    if given.file:
        data = load("gotv", path=given.file, costs=COSTS).data
        data = replace(
            data, features=data.features[:, :ENCODED], feature_names=data.feature_names[:ENCODED]
        )
    for seed in range(given.halves):
        parts = halves(data, seed) if given.file else simulated(seed, 20_000)
        budget = Budget(per_head=5.0) if given.file else Budget(share=0.3)
        found.append(one := valued(*parts, budget, seed, given.draws))
        print(f"half {seed}: {one}", flush=True)
    if not given.file:
        print(f"truth: gain {np.mean([one.truth for one in found]):.4f}")
    for name in ("ours", "scores"):
        gain, error = np.array([getattr(one, name) for one in found]).T
        print(
            f"{name}: gain {gain.mean():.4f}, standard error {error.mean():.4f}, "
            f"spread over halves {gain.std(ddof=1):.4f}"
        )


if __name__ == "__main__":
    main()
