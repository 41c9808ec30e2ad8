"""
Hypergradients: error against cost
==================================

Ridge regression with a penalty for each of 60 features, the outer loss on other rows. Every
method approximates the same linear system; the axis counts products with the inner Hessian, each
about as dear as a gradient, ten power iterations of the series included. Conjugate gradients use
the products best here. A power series needs many where curvatures differ. A sketch takes its
damping, .1 here, for every direction that it has not seen. One number in place of the matrix
costs nothing, and is off by what it is off.
"""

import matplotlib.pyplot as plt
import torch

from dfl.hypergrad import ConjugateGradient, Exact, Identity, Neumann, Nystrom

draw = torch.Generator().manual_seed(0)
scale = torch.logspace(0, -1, 60).double()
x, x_outer = (torch.randn(n, 60, generator=draw).double() * scale for n in (200, 300))
true = torch.randn(60, generator=draw).double()
y, y_outer = (
    rows @ true + torch.randn(len(rows), generator=draw).double() for rows in (x, x_outer)
)
outer = {"log_penalty": torch.full((60,), -3.0).double()}
penalty = outer["log_penalty"].exp().diag()
inner = {"weight": torch.linalg.solve(x.T @ x / len(x) + penalty, x.T @ y / len(x))}  # the optimum


def inner_loss(inner, outer):
    """Return the squared error and the penalty, so that `inner` above is its minimum."""
    fit = (x @ inner["weight"] - y).square().mean()
    return fit + (outer["log_penalty"].exp() * inner["weight"].square()).sum()


def outer_loss(inner, outer):
    """Return the squared error on other rows."""
    return (x_outer @ inner["weight"] - y_outer).square().mean()


def found(method):
    """Return the hypergradient."""
    return method(inner_loss, outer_loss, inner, outer).outer_grad["log_penalty"]


exact = found(Exact())
counts = (1, 2, 4, 8, 16, 32, 60)
loose = {"rtol": 1e-12, "on_failure": "return"}  # what came out, however far off
methods = {
    "conjugate gradients": (lambda n: ConjugateGradient(max_iter=n, **loose), 0),
    "Neumann series": (lambda n: Neumann(terms=n, power_iterations=10, **loose), 10),
    "Nyström sketch": (lambda n: Nystrom(rank=n, damping=0.1, **loose), 1),
}
figure, axes = plt.subplots(figsize=(6.4, 4))
for (name, (make, more)), style in zip(methods.items(), ("-o", "--s", "-.^"), strict=True):
    error = [float((found(make(n)) - exact).norm() / exact.norm()) for n in counts]
    axes.plot([n + more for n in counts], error, style, label=name)
off = float((found(Identity()) - exact).norm() / exact.norm())
axes.axhline(off, color="black", linestyle=":", label="identity, no product")
axes.set(
    xscale="log", yscale="log", xlabel="products with the inner Hessian", ylabel="relative error"
)
axes.legend()
plt.show()
