"""
The price of money, and what is spent at it
===========================================

Everybody takes the treatment of largest revenue less price times cost. The higher the price, the
less is spent; the budget picks the price. A decision loss on a batch does the same with few
people, whose spend is a coarse staircase: its price moves from batch to batch, which is why
training takes the price of all rows.
"""

import matplotlib.pyplot as plt
import torch

from dfl import AllocationProblem
from dfl.solvers import GreedyDual, decide

draw = torch.Generator().manual_seed(1)
cost = torch.tensor([0.0, 1.0, 2.0, 4.0]).expand(20_000, 4).contiguous()
revenue = torch.rand(20_000, 1, generator=draw) * (1 + cost).log() * 3
prices = torch.linspace(0, 2.2, 120)

figure, axes = plt.subplots(figsize=(6.4, 4))
for rows, style in ((20_000, "-"), (50, ":"), (12, "-.")):
    r, c = revenue[:rows], cost[:rows]
    spend = [float(c.gather(1, decide(r, c, float(one))[:, None]).mean()) for one in prices]
    (line,) = axes.step(prices, spend, style, where="post", label=f"{rows:,} people")
    found = GreedyDual().solve(AllocationProblem(r, c, budget=1.0 * rows))
    axes.axvline(float(found.multiplier), color=line.get_color(), linestyle=style, linewidth=1)
axes.axhline(1.0, color="black", linewidth=1)
axes.annotate("budget", (2.0, 1.05))
axes.set(xlabel="price of money", ylabel="spend per head", ylim=(0, None), xlim=(0, 2.2))
axes.legend(loc="upper right")
plt.show()
