"""`PerturbedDecision`: the mean decision of any argmax under noise, with its gradient."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from dfl.checks import check_choice, check_number
from dfl.errors import UnsupportedProblemError
from dfl.layers.perturbed.argmax import Argmax, check_argmax, decide_rows, only, prepare
from dfl.layers.perturbed.noise import Draws, SmoothNoise, score
from dfl.layers.pricing.problems import eagerly, signed

__all__ = ["PerturbedDecision", "Sampler"]

_KEPT = 2**22  # numbers of noise and decisions that may wait for the backward pass


@final
class PerturbedDecision(nn.Module):
    """Averages the decisions of an argmax over draws of noise.

    ``decision = mean_s argmax(value + sigma * z_s)``, an unbiased estimate of the smooth map
    ``E argmax(value + sigma * Z)``. Its Jacobian is estimated from the same draws,
    ``J = mean_s (y_s - b_s) score(z_s)^T / sigma``, ``score = z`` for normal noise and ``1 -
    exp(-z)`` for Gumbel; ``b_s`` is the mean decision over the other draws (other pairs, where
    antithetic), which leaves J unbiased and far less noisy. Reverse mode and forward mode use
    J itself, so both agree to rounding. The argmax is called without gradients and as often as
    there are draws. Memory is O(values) whatever their number: what is too large to keep is
    drawn and decided again in the backward pass.

    Args:
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.
        sigma: size of the noise, in units of ``value``, > 0. Small is faithful and noisy;
            large is smooth and biased.
        noise: ``"normal"`` or ``"gumbel"`` (moved to mean 0), independent per entry.
        samples: number of draws; even where antithetic.
        antithetic: draw in mirrored pairs.
        control_variate: subtract ``b_s``.
        seed: the same draws at each call for a number, new ones at each call for None (from
            torch's default generator).

    Shapes:
        value ``(..., D)`` -> decision ``(..., D)``; leading axes are separate instances.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Berthet et al. (2020), arXiv:2002.08676, propositions 2.1 and 3.1. Ours: the pairs and
        the control variate.
    """

    def __init__(
        self,
        argmax: Argmax,
        *,
        sigma: float = 1.0,
        noise: SmoothNoise = "normal",
        samples: int = 100,
        antithetic: bool = True,
        control_variate: bool = True,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        check_argmax(argmax)
        check_number("sigma", sigma, above=0)
        check_choice("noise", noise, ("normal", "gumbel"))
        draws = Draws(noise=noise, samples=samples, antithetic=antithetic, seed=seed)
        self.argmax = argmax
        self.sigma = sigma
        self.noise = noise
        self.draws = draws
        self.control_variate = control_variate

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"sigma={self.sigma:g}, noise={self.noise!r}, samples={self.draws.samples}, "
            f"antithetic={self.draws.antithetic}, control_variate={self.control_variate}, "
            f"seed={self.draws.seed}"
        )

    def forward(self, values: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return the mean decision ``(..., D)``, in the dtype of ``values``.

        Args:
            values: value of each entry, never NaN. Shape ``(..., D)``.
            allowed: which entries may be chosen, None for all: the argmax sees others far below
                the rest, and they take no part in any scale. bool, shape ``(..., D)``.

        Raises:
            ShapeError: if the argmax returns another shape, or ``allowed`` does not fit.
            DTypeError: if values are no tensor or not floating point, or the argmax returns none.
            InvalidValueError: if a value is NaN, or a row has no entry that is allowed.
            UnsupportedProblemError: in the backward pass, if a second derivative is asked for.
        """
        values = prepare(values, allowed, self.sigma)
        mean = eagerly(_Mean.apply)(values, self._sampler())  # type: ignore[no-untyped-call]
        return only(mean, allowed)

    def maximum(self, values: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return ``mean_s max_y (value + sigma * z_s) @ y``, whose gradient is the mean decision.

        It is what a Fenchel-Young loss is made of. Twice differentiable in reverse mode, the
        second derivative being the estimate of J.

        Args:
            values: as for `forward`.
            allowed: as for `forward`.

        Returns:
            Shape ``(...)``, in the dtype of ``values``.

        Raises:
            ShapeError: as `forward`.
            DTypeError: as `forward`.
            InvalidValueError: as `forward`.
        """
        values = prepare(values, allowed, self.sigma)
        return cast("Tensor", eagerly(_Maximum.apply)(values, self._sampler()))  # type: ignore[no-untyped-call]

    def _sampler(self) -> "Sampler":
        return Sampler(self.argmax, self.sigma, self.noise, self.draws, self.control_variate)


@final
@dataclass(eq=False)
class Sampler:
    """The draws of one call and what was decided on them; a new one per call.

    Args:
        argmax: see `Argmax`.
        sigma: size of the noise.
        noise: which noise.
        draws: the stream.
        control_variate: subtract the mean decision of the other draws.
    """

    argmax: Argmax
    sigma: float
    noise: SmoothNoise
    draws: Draws
    control_variate: bool = True
    seed: int = field(init=False)
    kept: list[tuple[Tensor, Tensor]] | None = field(init=False, default=None)
    found: tuple[Tensor, Tensor] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Draw the seed of the stream."""
        self.seed = self.draws.fresh_seed()

    def alike(self) -> "Sampler":
        """Return a sampler of the same draws that has decided on nothing yet."""
        return replace(self, draws=replace(self.draws, seed=self.seed))

    def mean(self, values: Tensor) -> Tensor:
        """Decide on all draws, once.

        Returns:
            The mean decision ``(..., D)``.
        """
        return self._run(values, of_noise=False)[0]

    def maximum(self, values: Tensor) -> Tensor:
        """Decide on all draws, once; return the mean of ``(values + sigma * z_s) @ y_s``."""
        mean, noise = self._run(values, of_noise=True)
        return (values * mean).sum(dim=-1) + self.sigma * noise

    def _run(self, values: Tensor, of_noise: bool) -> tuple[Tensor, Tensor]:
        """Return the mean decision and, where asked for, the mean of ``z_s @ y_s``."""
        if self.found is not None:
            return self.found
        keep: list[tuple[Tensor, Tensor]] | None = []
        if 2 * self.draws.samples * values.numel() > _KEPT:
            keep = None
        total, noise = torch.zeros_like(values), values.new_zeros(())
        for drawn, decided in self._decide(values):
            total += decided.sum(dim=(0, 1))
            if of_noise:
                noise = noise + (drawn * decided).sum(dim=(0, 1, -1))
            if keep is not None:
                keep.append((drawn, decided))
        self.kept = keep
        self.found = total.div_(self.draws.samples), noise / self.draws.samples
        return self.found

    def pull(self, values: Tensor, mean: Tensor, vector: Tensor) -> Tensor:
        """Return ``vector @ J``, from the draws of `mean`."""
        total = torch.zeros_like(values)
        for drawn, decided in self._again(values):
            reward = (decided * vector).sum(dim=-1, keepdim=True)
            if self.control_variate:
                reward -= self._others((mean * vector).sum(dim=-1, keepdim=True), reward)
            total += (score(self.noise, drawn) * reward).sum(dim=(0, 1))
        return total / (self.sigma * self.draws.samples)

    def push(self, values: Tensor, mean: Tensor, vector: Tensor) -> Tensor:
        """Return ``J @ vector``, from the draws of `mean`."""
        total = torch.zeros_like(values)
        for drawn, decided in self._again(values):
            along = (score(self.noise, drawn) * vector).sum(dim=-1, keepdim=True)
            if self.control_variate:
                decided = decided - self._others(mean, decided)
            total += (along * decided).sum(dim=(0, 1))
        return total / (self.sigma * self.draws.samples)

    def _others(self, mean: Tensor, own: Tensor) -> Tensor:
        """Return the mean over the draws outside each draw's own group ``(n, 1, ...)``."""
        count, group = self.draws.samples, self.draws.group
        if count == group:
            return torch.zeros_like(own[:, :1])
        return (count * mean - own.sum(dim=1, keepdim=True)) / (count - group)

    def _again(self, values: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        return self._decide(values) if self.kept is None else self.kept

    def _decide(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield noise and decisions ``(n, group, ..., D)`` chunk by chunk."""
        for drawn in self.draws.chunks(values, self.seed):
            yield drawn, decide_rows(self.argmax, torch.add(values, drawn, alpha=self.sigma))


@final
@signed
class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, sampler: Sampler) -> Tensor:
        return sampler.mean(values).clone()  # what autograd returns must be its own

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Sampler], output: Tensor) -> None:
        values, ctx.sampler = inputs
        ctx.save_for_backward(values, output)
        ctx.save_for_forward(values, output)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        values, mean = ctx.saved_tensors
        return _multiply(values, mean, slope, ctx.sampler, True), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        values, mean = ctx.saved_tensors
        return _multiply(values, mean, tangent, ctx.sampler, False)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None], values: Tensor, sampler: Sampler
    ) -> tuple[Tensor, int]:
        parts = values.unbind(in_dims[0])  # one by one: each sees the draws it sees alone
        found = [_Mean.apply(part, sampler.alike()) for part in parts]  # type: ignore[no-untyped-call]
        return torch.stack(found), 0


@final
@signed
class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, sampler: Sampler) -> Tensor:
        return sampler.maximum(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Sampler], output: Tensor) -> None:
        values, ctx.sampler = inputs
        ctx.save_for_backward(values)
        ctx.save_for_forward(values)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        decide = _Mean.apply if torch.is_grad_enabled() else _known_mean
        return slope.unsqueeze(-1) * decide(values, ctx.sampler), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (values,) = ctx.saved_tensors
        mean = cast("Tensor", _Mean.apply(values, ctx.sampler))  # type: ignore[no-untyped-call]
        return (tangent * mean).sum(dim=-1)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None], values: Tensor, sampler: Sampler
    ) -> tuple[Tensor, int]:
        parts = values.unbind(in_dims[0])
        found = [_Maximum.apply(part, sampler.alike()) for part in parts]  # type: ignore[no-untyped-call]
        return torch.stack(found), 0


def _known_mean(values: Tensor, sampler: Sampler) -> Tensor:
    return sampler.mean(values)


def _multiply(values: Tensor, mean: Tensor, vector: Tensor, sampler: Sampler, left: bool) -> Tensor:
    """Return the estimated Jacobian times a vector, from the left or from the right."""
    if not torch.is_grad_enabled():  # no graph to build: nothing that a function would add
        return (sampler.pull if left else sampler.push)(values, mean, vector)
    found = _Product.apply(values, mean, vector, sampler, left)  # type: ignore[no-untyped-call]
    return cast("Tensor", found)


@final
@signed
class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        values: Tensor, mean: Tensor, vector: Tensor, sampler: Sampler, left: bool
    ) -> Tensor:
        return (sampler.pull if left else sampler.push)(values, mean, vector)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> None:
        raise _no_second_derivative()

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        raise _no_second_derivative()

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        values: Tensor,
        mean: Tensor,
        vector: Tensor,
        sampler: Sampler,
        left: bool,
    ) -> tuple[Tensor, int]:
        columns = [
            [one] * info.batch_size if axis is None else one.unbind(axis)
            for one, axis in zip((values, mean, vector), in_dims[:3], strict=True)
        ]
        if in_dims[0] is not None:
            sampler = sampler.alike()
        found = [_multiply(*one, sampler, left) for one in zip(*columns, strict=True)]  # type: ignore[call-arg]
        return torch.stack(found), 0


def _no_second_derivative() -> UnsupportedProblemError:
    return UnsupportedProblemError(
        "a decision averaged over draws has no second derivative here, which was asked for by "
        "create_graph or nested transforms; use a layer without sampling (samples=None), or a "
        "hypergradient that needs first derivatives of the decision alone."
    )
