"""
What grounding corrects
=======================

A network trained on confounded logs ranks people by what the old policy knew. ``grounded`` asks
randomised rows how its predictions err along the features, and corrects them. Below: tenths of
people by predicted effect of the deepest discount, and the true effect of each tenth, before and
after.
"""

import matplotlib.pyplot as plt

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import Grounded, Training, TsmSl

sizes = PartSizes(rct=8_000, obs=20_000, validation=10_000, test=20_000)
rows = CouponSimulator(hidden_confounding=1.0, sizes=sizes).hybrid(seed=1)
quick = Training(epochs=3, min_steps=100, members=2, weight_decay=(0.5,))
parts = {"rct": rows.rct, "obs": rows.obs, "validation": rows.validation}
models = {
    "TSM-SL on both": TsmSl(training=quick).fit(**parts),
    "grounded": Grounded(base=TsmSl(training=quick)).fit(**parts),
}
effect = rows.test.truth.revenue[:, -1] - rows.test.truth.revenue[:, 0]

figure, panels = plt.subplots(1, 2, figsize=(8, 3.8), sharex=True, sharey=True)
for axes, (name, model) in zip(panels, models.items(), strict=True):
    revenue = model.predict(rows.test.features).revenue
    predicted = revenue[:, -1] - revenue[:, 0]
    tenth = predicted.argsort().chunk(10)
    axes.plot(
        [float(predicted[one].mean()) for one in tenth],
        [float(effect[one].mean()) for one in tenth],
        "-o",
    )
    off = float((predicted - effect).square().mean().sqrt())
    axes.set(title=f"{name}: error {off:.1f} a head", xlabel="predicted effect of 20 % off")
for axes in panels:
    axes.axline((0, 0), slope=1, color="black", linewidth=1)
panels[0].set_ylabel("true effect")
plt.show()
