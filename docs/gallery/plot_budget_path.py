"""
All budgets at once
===================

One sort of everybody's hull steps gives the best revenue for *every* budget: the curve below is
exact, and concave because the best steps are taken first. A budget is a look-up on it, and the
slope there is the price of money: what one more unit of it would earn.
"""

import matplotlib.pyplot as plt
import torch

from dfl import AllocationProblem
from dfl.solvers import GreedyDual

draw = torch.Generator().manual_seed(0)
people, treatments = 2_000, 5
cost = torch.arange(treatments) * torch.rand(people, 1, generator=draw)
lift = 3 * torch.rand(people, 1, generator=draw) ** 2
revenue = lift * cost.sqrt()

path = GreedyDual().path(AllocationProblem(revenue, cost, budget=1.0))
dearest = float(cost.sum())
budget = 0.2 * dearest
best = path.at(budget)

figure, axes = plt.subplots(figsize=(6.4, 4))
axes.plot(path.costs, path.revenues, label="the best allocation of each budget")
axes.plot(
    [0, dearest], [0, float(revenue[:, -1].sum())], "--", label="the dearest treatment by lot"
)
axes.plot(best.cost, best.revenue, "o", color="black")
reach = 0.1 * dearest
axes.plot(
    [budget - reach, budget + reach],
    [float(best.revenue - best.multiplier * reach), float(best.revenue + best.multiplier * reach)],
    color="black",
    linewidth=1,
    label=f"price of money there: {best.multiplier:.2f}",
)
axes.set(xlabel="money spent", ylabel="revenue", xlim=(0, dearest), ylim=(0, None))
axes.legend(loc="lower right")
plt.show()
