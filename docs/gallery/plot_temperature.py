"""
From a hard choice to a soft one
================================

A layer turns scores into shares that have a gradient. How soft is the temperature: near 0 the
best treatment takes everything and the gradient vanishes, far above the scores' differences all
shares are alike and the gradient says little. Softmax (Gumbel noise) and normal noise differ in
the tails only.
"""

import matplotlib.pyplot as plt
import torch

from dfl.layers import PerturbedArgmax, Price, Softmax, Softness

revenue = torch.tensor([[0.0, 0.8, 1.4, 1.6]])
cost = torch.tensor([[0.0, 0.5, 1.0, 1.5]])
price = Price(multiplier=1.0)
temperatures = torch.logspace(-2, 1, 60)

figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
for axes, layer, title in zip(
    panels, (Softmax, PerturbedArgmax), ("softmax", "normal noise"), strict=True
):
    shares = [
        layer(softness=Softness(float(one), "absolute"), price=price)(revenue, cost, 1.0).shares[0]
        for one in temperatures
    ]
    for treatment, style in enumerate(("-", "--", "-.", ":")):
        score = float(revenue[0, treatment] - cost[0, treatment])
        axes.plot(
            temperatures,
            [float(one[treatment]) for one in shares],
            style,
            label=f"treatment {treatment}, score {score:.1f}",
        )
    axes.set(xscale="log", xlabel="temperature, in currency", title=title)
panels[0].set_ylabel("share")
panels[0].legend(loc="upper right")
plt.show()
