"""
The hull of one person
======================

A person's treatments are points, cost against revenue. As the price of money falls, the person
moves along the upper concave hull, one step at a time; a treatment below the hull is never worth
its money at any price. That is why a budget for millions of people is a matter of sorting steps.
"""

import matplotlib.pyplot as plt
import torch

from dfl.solvers import hull_steps

cost = torch.tensor([[0.0, 1.0, 2.0, 3.0, 5.0]])
revenue = torch.tensor([[1.0, 3.5, 3.8, 5.5, 6.3]])
steps = hull_steps(revenue, cost)
corners = [int(steps.base[0]), *steps.treatment.tolist()]

figure, axes = plt.subplots(figsize=(6.4, 4))
axes.plot(cost[0, corners], revenue[0, corners], "-o", label="hull")
below = [one for one in range(cost.shape[1]) if one not in corners]
axes.plot(cost[0, below], revenue[0, below], "x", markersize=9, label="never chosen")
for previous, following, price in zip(
    corners, corners[1:], steps.multiplier.tolist(), strict=False
):
    middle = (
        (cost[0, previous] + cost[0, following]) / 2,
        (revenue[0, previous] + revenue[0, following]) / 2,
    )
    axes.annotate(
        f"below a price of {price:.2g}", middle, xytext=(10, -14), textcoords="offset points"
    )
axes.set(xlabel="cost", ylabel="revenue", xlim=(-0.2, 6.4))
axes.legend(loc="lower right")
plt.show()
