"""Bilevel problems that several tests share: ridge with a closed form, and small networks."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dfl.hypergrad import ComposedLoss, Parameters


@dataclass(frozen=True, eq=False)
class Ridge:
    """Ridge regression with one penalty per feature, tuned on other rows.

    inner: 1/2 mean((X w - y)^2) + 1/2 sum(exp(log_penalty) w^2), w in two parameters;
    outer: 1/2 mean((X' w + offset - y')^2).
    Every tensor may carry a leading member axis.
    """

    features: Tensor  # (..., N, n)
    targets: Tensor  # (..., N)
    outer_features: Tensor  # (..., V, n)
    outer_targets: Tensor  # (..., V)
    outer: Parameters

    @property
    def penalty(self) -> Tensor:
        return self.outer["log_penalty"].exp()

    @property
    def hessian(self) -> Tensor:
        rows = self.features.shape[-2]
        return self.features.mT @ self.features / rows + torch.diag_embed(self.penalty)

    @property
    def solution(self) -> Tensor:
        right = (self.features.mT @ self.targets.unsqueeze(-1)) / self.features.shape[-2]
        return solved(self.hessian, right.squeeze(-1))

    @property
    def inner(self) -> Parameters:
        best = self.solution
        return {"head": best[..., :2].clone(), "tail": best[..., 2:].clone()}

    def inner_loss(self, inner: Parameters, outer: Parameters) -> Tensor:
        return self.composed(inner, outer)

    @property
    def composed(self) -> ComposedLoss:
        def outputs(inner: Parameters, outer: Parameters) -> tuple[Tensor, ...]:
            return applied(self.features, inner), weights(inner)

        def criterion(found: tuple[Tensor, ...], outer: Parameters) -> Tensor:
            penalty = (outer["log_penalty"].exp() * found[1] ** 2).sum(-1)
            return 0.5 * (((found[0] - self.targets) ** 2).mean(-1) + penalty)

        return ComposedLoss(outputs, criterion)

    @property
    def composed_with_outer_outputs(self) -> ComposedLoss:
        """The same loss, its outer parameters in the outputs instead of the criterion."""

        def outputs(inner: Parameters, outer: Parameters) -> tuple[Tensor, ...]:
            scaled = (outer["log_penalty"] / 2).exp() * weights(inner)
            return applied(self.features, inner), scaled

        def criterion(found: tuple[Tensor, ...], outer: Parameters) -> Tensor:
            return 0.5 * (((found[0] - self.targets) ** 2).mean(-1) + (found[1] ** 2).sum(-1))

        return ComposedLoss(outputs, criterion)

    def outer_loss(self, inner: Parameters, outer: Parameters) -> Tensor:
        found = applied(self.outer_features, inner) + outer["offset"].unsqueeze(-1)
        return 0.5 * ((found - self.outer_targets) ** 2).mean(-1)

    @property
    def truth(self) -> Parameters:
        rows = self.outer_features.shape[-2]
        best = self.solution
        error = (self.outer_features @ best.unsqueeze(-1)).squeeze(-1)
        error = error + self.outer["offset"].unsqueeze(-1) - self.outer_targets
        slope = (self.outer_features.mT @ error.unsqueeze(-1)).squeeze(-1) / rows
        return {
            "log_penalty": -self.penalty * best * solved(self.hessian, slope),
            "offset": error.mean(-1),
        }

    def member(self, index: int) -> "Ridge":
        return Ridge(
            self.features[index],
            self.targets[index],
            self.outer_features[index],
            self.outer_targets[index],
            {name: value[index] for name, value in self.outer.items()},
        )


def ridge(
    members: int | None = None,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Ridge:
    generator = torch.Generator().manual_seed(seed)
    lead = () if members is None else (members,)

    def draw(*shape: int) -> Tensor:
        normal = torch.randn((*lead, *shape), generator=generator, dtype=torch.float64)
        return normal.to(dtype=dtype, device=device)

    features, outer_features, truth = draw(40, 5), draw(30, 5), draw(5, 1)
    targets = (features @ truth).squeeze(-1) + 0.5 * draw(40)
    outer_targets = (outer_features @ truth).squeeze(-1) + 0.5 * draw(30)
    outer = {"log_penalty": 0.5 * draw(5) - 1, "offset": draw()}
    return Ridge(features, targets, outer_features, outer_targets, outer)


@dataclass(frozen=True, eq=False)
class Network:
    """A tanh network with one weight-decay strength per parameter, tuned on other rows."""

    inner: Parameters
    outer: Parameters
    composed: ComposedLoss

    features: Tensor
    targets: Tensor
    predict: ComposedLoss  # its outputs are the predictions on the outer rows

    def outer_loss(self, inner: Parameters, outer: Parameters) -> Tensor:
        return self.predict(inner, outer)


def network(
    members: int | None = None,
    *,
    sizes: tuple[int, int, int] = (3, 5, 2),
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Network:
    """Build it with parameters at random, not at the inner optimum."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    features = draw(30, sizes[0])
    targets = torch.tanh(2 * features @ draw(sizes[0], 3)) @ draw(3, sizes[2])
    targets = targets + 0.1 * draw(30, sizes[2])
    outer_features, outer_targets = features + 0.3, targets * 0.8 + 0.1
    net = nn.Sequential(nn.Linear(*sizes[:2]), nn.Tanh(), nn.Linear(*sizes[1:])).to(dtype)
    lead = () if members is None else (members,)
    inner = {name: 0.7 * draw(*lead, *value.shape) for name, value in net.named_parameters()}
    outer = {name: 0.3 * draw(*lead) - 4 for name in inner}
    outer_names = list(outer)  # the caller may pass dicts in another order

    def forward(inner: Parameters, rows: Tensor) -> Tensor:
        if members is None:
            return functional_call(net, inner, (rows,))
        return vmap(lambda one: functional_call(net, one, (rows,)))(inner)

    def outputs(inner: Parameters, outer: Parameters) -> tuple[Tensor, ...]:
        return (forward(inner, features), *(inner[name] for name in outer_names))

    def criterion(found: tuple[Tensor, ...], outer: Parameters) -> Tensor:
        prediction, *values = found
        loss = ((prediction - targets) ** 2).mean((-1, -2))
        for name, value in zip(outer_names, values, strict=True):
            loss = loss + outer[name].exp() * (value**2).reshape(*lead, -1).sum(-1)
        return loss

    predict = ComposedLoss(
        lambda inner, outer: forward(inner, outer_features),
        lambda found, outer: ((found - outer_targets) ** 2).mean((-1, -2)),
    )
    return Network(inner, outer, ComposedLoss(outputs, criterion), features, targets, predict)


def member(parameters: Parameters, index: int) -> Parameters:
    return {name: value[index] for name, value in parameters.items()}


def weights(inner: Parameters) -> Tensor:
    return torch.cat([inner["head"], inner["tail"]], -1)


def applied(features: Tensor, inner: Parameters) -> Tensor:
    return (features @ weights(inner).unsqueeze(-1)).squeeze(-1)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
