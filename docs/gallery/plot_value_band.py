"""
Value against budget, with a band
=================================

What a policy earns above the cheapest treatment for everybody, at every budget, estimated on
randomised rows that training never saw. The band holds for the whole curve at once with 95 %
confidence, the bars of a table for one budget only. A simulator knows the truth, drawn beside the
estimate.
"""

import matplotlib.pyplot as plt

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import Grounded, Training, TsmSl
from dfl.metrics import Bootstrap, gain_curve, true_curve

sizes = PartSizes(rct=8_000, obs=20_000, validation=10_000, test=40_000)
rows = CouponSimulator(hidden_confounding=1.0, sizes=sizes).hybrid(seed=0)
quick = Training(epochs=3, min_steps=100, members=2, weight_decay=(0.5,))
model = Grounded(base=TsmSl(training=quick)).fit(
    rct=rows.rct, obs=rows.obs, validation=rows.validation
)
predicted = model.predict(rows.test.features)

curve = gain_curve(
    rows.test, predicted.revenue, predicted.cost, points=11, bootstrap=Bootstrap(draws=100)
)
budgets = curve.budgets
value = [one.value for one in curve.over_cheapest]
reach = [curve.factor * one.standard_error for one in curve.over_cheapest]
truth = true_curve(rows.test.truth, predicted.revenue, predicted.cost)
nothing = truth.at(budgets[0]).value
real = [truth.at(one).value - nothing for one in budgets]
mix = [
    ours.value - more.value for ours, more in zip(curve.over_cheapest, curve.over_mix, strict=True)
]

figure, axes = plt.subplots(figsize=(6.4, 4))
axes.fill_between(
    budgets,
    [v - r for v, r in zip(value, reach, strict=True)],
    [v + r for v, r in zip(value, reach, strict=True)],
    alpha=0.2,
    label="95 % band over the whole curve",
)
axes.plot(budgets, value, label="grounded, estimated on held-out rows")
axes.plot(budgets, real, ":", color="black", label="grounded, the simulator's truth")
axes.plot(budgets, mix, "--", label="best constant mix of treatments")
axes.set(xlabel="budget per head", ylabel="gain per head", xlim=(budgets[0], budgets[-1]))
axes.legend(loc="lower right")
plt.show()
