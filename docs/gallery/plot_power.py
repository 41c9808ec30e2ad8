"""
How many rows does a difference need?
=====================================

The chance that an experiment finds an effect, by the number of users and how they are read. A
better estimator moves the curve to the left: with covariates that explain half of a metric's
variance, half of the users do.
"""

import matplotlib.pyplot as plt
import numpy as np

from dfl.abtest import Cuped, DifferenceInMeans, Experiment, PowerPlan

random = np.random.default_rng(0)
people = 4_000
past = random.gamma(2.0, 10.0, size=people)
spend = 0.9 * past + random.gamma(2.0, 8.0, size=people)
arm = random.integers(0, 2, size=people)
pilot = Experiment(treatment=arm, metric=spend + 0.5 * arm, covariates=past[:, None])
units = np.logspace(3, 5.5, 40)

figure, axes = plt.subplots(figsize=(6.4, 4))
for estimator, name, style in (
    (DifferenceInMeans(), "difference in means", "--"),
    (Cuped(), "CUPED", "-"),
):
    (read,) = estimator.estimate(pilot)
    plan = PowerPlan.of(read)
    (line,) = axes.plot(units, [plan.power(0.5, one) for one in units], style, label=name)
    needed = plan.units(effect=0.5)
    axes.plot(needed, 0.8, "o", color=line.get_color())
    axes.annotate(f"{needed:,.0f}", (needed, 0.8), xytext=(6, -12), textcoords="offset points")
axes.axhline(0.8, color="black", linewidth=0.7)
axes.set(
    xscale="log", xlabel="users in the experiment", ylabel="chance to find an effect of 0.5 a head"
)
axes.legend(loc="upper left")
plt.show()
