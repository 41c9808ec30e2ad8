"""`Bench`: a linear model on a batch, whose decisions every part of the lab differentiates."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from dfl.budget import Budget
from dfl.data import UpliftData
from dfl.hypergrad import ComposedLoss, Parameters
from dfl.layers import AbstractLayer, AtPrice, Softmax, Softness
from dfl.layers.base import of_received
from dfl.losses.estimators.policy_value import received_value
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual

__all__ = ["PENALTY", "Bench"]

_MOST_FEATURES = 16  # more are replaced by their principal components
PENALTY = 1e-2  # of the ridge, on features of spread 1

_TEMPERATURE = 0.2  # of the outer loss, in spreads of the scores


@final
@dataclass(frozen=True, eq=False)
class Bench:
    """Rows of a batch, a linear model of revenue, and a price of money.

    Revenue is ``m_j(x) = design(x) @ weight_j``, fitted by ridge within each treatment, with no
    penalty on the constant; the cost of a treatment is the mean of its rows and stays fixed. With
    ``z`` the allocation that a layer makes of both, ``w`` the inverse propensity and ``t`` the
    treatment received,

    ``loss(weight) = - sum_i w_i z_it (y_i - price * c_i) / sum_i w_i z_it``

    which is what decision losses do, in few parameters: its differences can be taken one by one.

    Args:
        design: features of spread 1 or their components, and a constant. float64, ``(N, D)``.
        data: the rows.
        cost: mean cost of every treatment, in currency. Shape ``(M,)``.
        money: budget of these rows, in currency.
        price: of money at the model's own hard decision, >= 0. Shape ``()``.
        weight: the fitted model. Shape ``(D, M)``.
        scale: spread of the scores over treatments, in currency.
    """

    design: Tensor
    data: UpliftData
    cost: Tensor
    money: float
    price: Tensor
    weight: Tensor
    scale: float

    @classmethod
    def of(cls, data: UpliftData, budget: Budget) -> "Bench":
        """Fit the model and find the price.

        Raises:
            InvalidValueError: if the rows are observational and carry no propensity.
            InfeasibleBudgetError: if the budget is below the cheapest treatment for everyone.
        """
        rows = data.to(data.features.device, torch.float64)
        weights = rows.weight  # raises before anything is computed
        design = _design(rows.features)
        received = one_hot(rows.treatment, rows.treatments).to(design)
        cost = received.T @ (weights * rows.cost) / (received.T @ weights)
        unfitted = cls(design, rows, cost, 0.0, cost.new_zeros(()), design.new_zeros(0), 1.0)
        penalty = torch.tensor(PENALTY, dtype=torch.float32).to(design)
        flat = penalty.expand(design.shape[1] - 1, rows.treatments)
        weight = unfitted.fitted(flat.log())
        revenue, costs = design @ weight, cost.expand(len(rows), -1)
        money = budget.total_of(costs)
        found = GreedyDual().solve(AllocationProblem(revenue, costs, money))
        price = found.multiplier.to(design)
        scale = float((revenue - price * costs).std(dim=1).mean())
        return replace(unfitted, money=money, price=price, weight=weight, scale=scale)

    def drawn(self, index: Tensor) -> "Bench":
        """Return the same model and price on rows drawn again."""
        share = len(index) / len(self.data)
        return replace(
            self,
            design=self.design[index],
            data=self.data.subset(index),
            money=self.money * share,
        )

    def redrawn(self, generator: torch.Generator) -> "Bench":
        """Return the bench on as many rows, drawn with replacement within each treatment."""
        treatment = self.data.treatment.cpu()
        parts = []
        for arm in range(self.data.treatments):
            own = (treatment == arm).nonzero().squeeze(1)
            parts.append(own[torch.randint(len(own), (len(own),), generator=generator)])
        return self.drawn(torch.cat(parts).to(self.data.treatment.device))

    def halves(self, generator: torch.Generator) -> tuple["Bench", "Bench"]:
        """Return the bench on two random halves of the rows, by treatment."""
        order = torch.randperm(len(self.data), generator=generator)
        order = order[self.data.treatment.cpu()[order].argsort(stable=True)]
        order = order.to(self.data.treatment.device)
        return self.drawn(order[::2]), self.drawn(order[1::2])

    def loss_of(self, layer: AbstractLayer) -> Callable[[Tensor], Tensor]:
        """Return the loss with a layer, as a function of the model's weight ``(D, M)``."""
        held = AtPrice(self.price) if layer.decides_at_price else self.money

        def loss(weight: Tensor) -> Tensor:
            revenue = self.design @ weight
            shares, _ = layer(revenue, self.cost.expand_as(revenue), held)
            return self._loss(of_received(shares, self.data.treatment))

        return loss

    def hard_loss(self, weight: Tensor) -> Tensor:
        """Return the loss of the hard decision at the price: everyone's best score."""
        best = (self.design @ weight - self.price * self.cost).argmax(dim=1)
        return self._loss((best == self.data.treatment).to(weight))

    def fitted(self, log_penalty: Tensor) -> Tensor:
        """Return the weight of the smallest inner loss. Shape ``(D, M)``.

        Args:
            log_penalty: of each weight but the constant's. Shape ``(D - 1, M)``.
        """
        received = one_hot(self.data.treatment, self.data.treatments).to(self.design)
        share = len(self.data)
        gram = torch.einsum("nd,nm,ne->mde", self.design, received, self.design) / share
        right = torch.einsum("nd,nm,n->md", self.design, received, self.data.revenue) / share
        penalty = torch.diag_embed(pad(log_penalty.exp().T, (0, 1)))  # none on the constant
        weight: Tensor = torch.linalg.solve(gram + penalty, right.unsqueeze(2)).squeeze(2).T
        return weight

    @property
    def inner_loss(self) -> ComposedLoss:
        """Half the squared error at the treatment received, and a penalty on all but constants."""

        def outputs(inner: Parameters, outer: Parameters) -> tuple[Tensor, Tensor]:
            found = of_received(self.design @ inner["weight"], self.data.treatment)
            return found, inner["weight"][:-1]

        def criterion(found: tuple[Tensor, Tensor], outer: Parameters) -> Tensor:
            penalty = (outer["log_penalty"].exp() * found[1].square()).sum()
            return ((found[0] - self.data.revenue).square().mean() + penalty) / 2

        return ComposedLoss(outputs, criterion)

    def outer_loss(self, inner: Parameters, outer: Parameters) -> Tensor:
        """Return the loss with a softmax layer, of a temperature that weights do not move."""
        soft = Softmax(softness=Softness(_TEMPERATURE * self.scale, "absolute"))
        return self.loss_of(soft)(inner["weight"])

    def _loss(self, received: Tensor) -> Tensor:
        outcome = self.data.revenue - self.price * self.data.cost
        return -received_value(received, outcome, self.data.weight, "self-normalised")


def _design(features: Tensor) -> Tensor:
    """Return features of spread 1, or their sixteen largest components, and a 1."""
    spread = features.std(dim=0)
    kept = features[:, spread > 0]
    scaled = (kept - kept.mean(dim=0)) / kept.std(dim=0)
    if scaled.shape[1] > _MOST_FEATURES:
        left, size, _ = torch.linalg.svd(scaled, full_matrices=False)
        scaled = (left * size)[:, :_MOST_FEATURES]
    return torch.cat([scaled, torch.ones_like(features[:, :1])], dim=1)
