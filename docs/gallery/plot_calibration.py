"""
Are predictions true?
=====================

Customers in tenths of predicted revenue, on randomised rows that training never saw: the mean
outcome of those who received a treatment against the mean prediction for it. Logs of a policy
that knew something the features do not say teach too little of what the discount does to the
best; a network of few randomised rows has no such bias and is too bold instead: its low tenths
are not that low, its high ones not that high. The report of a run holds the same check.
"""

import matplotlib.pyplot as plt
import torch

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import Training, TsmSl

sizes = PartSizes(rct=4_000, obs=12_000, validation=1_000, test=40_000)
rows = CouponSimulator(hidden_confounding=1.0, sizes=sizes).hybrid(seed=0)
quick = Training(epochs=3, min_steps=100, members=1, weight_decay=(0.5,))
dearest = 4
received = rows.test.treatment == dearest

figure, axes = plt.subplots(figsize=(5, 4.6))
for learned, style in (("obs", "--s"), ("rct", "-o")):
    model = TsmSl(rows=learned, training=quick).fit(
        rct=rows.rct, obs=rows.obs, validation=rows.validation
    )
    predicted = model.predict(rows.test.features[received]).revenue[:, dearest]
    tenth = predicted.argsort().chunk(10)
    observed = rows.test.revenue[received]
    mean = torch.tensor(
        [[float(predicted[one].mean()), float(observed[one].mean())] for one in tenth]
    )
    error = [float(observed[one].std() / len(one) ** 0.5) for one in tenth]
    name = {"obs": "learned from logs", "rct": "learned from randomised rows"}[learned]
    axes.errorbar(mean[:, 0], mean[:, 1], yerr=error, fmt=style, capsize=2, label=name)
limits = axes.get_xlim()
axes.plot(limits, limits, color="black", linewidth=1)
axes.set(
    xlabel="predicted revenue, 20 % off", ylabel="observed revenue", title="hidden confounding"
)
axes.legend()
plt.show()
