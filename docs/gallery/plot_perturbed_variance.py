"""
What sampling a perturbed choice costs
======================================

The expected choice under noise can be drawn, as published, or computed: with normal noise it is a
one-dimensional integral for each person. Drawn, its error falls as one over the root of the
draws, and ten times the accuracy takes a hundred times the work.
"""

import matplotlib.pyplot as plt
import torch

from dfl.layers import PerturbedArgmax, Price, Softness

draw = torch.Generator().manual_seed(0)
revenue = torch.randn(200, 5, generator=draw).double()
cost = torch.zeros_like(revenue)
options = {"softness": Softness(1.0, "absolute"), "price": Price(multiplier=0.0)}


def gradient(layer):
    """Return the gradient of the shares' value in the scores."""
    given = revenue.clone().requires_grad_()
    (layer(given, cost, 1.0).shares * revenue).sum().backward()
    return given.grad


exact = gradient(PerturbedArgmax(**options))
counts = [2, 4, 8, 16, 32, 64, 128, 256]
error = {"shares": [], "gradient": []}
shares = PerturbedArgmax(**options)(revenue, cost, 1.0).shares
for count in counts:
    drawn = [PerturbedArgmax(samples=count, seed=seed, **options) for seed in range(8)]
    apart = torch.stack([layer(revenue, cost, 1.0).shares - shares for layer in drawn])
    error["shares"].append(float(apart.square().mean().sqrt() / shares.square().mean().sqrt()))
    off = torch.stack([gradient(layer) - exact for layer in drawn])
    error["gradient"].append(float(off.square().mean().sqrt() / exact.square().mean().sqrt()))

figure, axes = plt.subplots(figsize=(6.4, 4))
for name, style in (("shares", "-o"), ("gradient", "--s")):
    axes.plot(counts, error[name], style, label=name)
axes.plot(
    counts, [2 / count**0.5 for count in counts], ":", color="black", label="one over the root"
)
axes.set(xscale="log", yscale="log", xlabel="draws", ylabel="error, relative to the exact value")
axes.legend()
plt.show()
