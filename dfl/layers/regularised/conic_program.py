"""The regularised linear program of one budget as a cone program, and the audit of its answers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast, final

import cvxpy
import numpy
import torch
from cvxpylayers.torch import CvxpyLayer  # type: ignore[attr-defined]  # not in an __all__
from diffcp import SolverError  # type: ignore[import-untyped]  # ships no types
from scipy import sparse
from torch import Tensor
from torch.autograd import Function

from dfl.errors import NotConvergedError, UnsupportedProblemError
from dfl.layers.pricing.problems import eagerly
from dfl.layers.regularised.regulariser import AbstractRegulariser, Entropy, SquaredNorm
from dfl.layers.regularised.soft_optimum import OptimumBlock, by_budget

__all__ = ["REGULARISERS", "Audit", "ConicProgram", "Regularisation", "audit"]

Regularisation: TypeAlias = Literal["quadratic", "entropic", "lpgd", "none"]

REGULARISERS: dict[Regularisation, AbstractRegulariser] = {
    "quadratic": SquaredNorm(),
    "entropic": Entropy(),
}

_CACHED = 8  # programs kept; a program of 20,000 x 5 takes some hundred megabytes


@final
@dataclass(frozen=True)
class ConicProgram:
    """Solves ``max_x gain . x + bonus(x)  s.t.  cost . x <= budget``, rows on the simplex.

    ``bonus`` is ``- |x|^2 / 2`` (quadratic), ``- sum x log x`` (entropic) or 0. Clarabel
    solves. With a bonus, the optimality conditions at the multiplier found are differentiated
    here; without, diffcp does it, by least squares in those conditions or, for ``"lpgd"``, from
    the optima at ``gain +- slope / max |slope|``.

    Args:
        rows: people, N.
        treatments: M.
        regularisation: the bonus, or how the gradient is made without one.
        tolerance: of Clarabel, on gap and feasibility alike.
        max_iter: of Clarabel.
    """

    rows: int
    treatments: int
    regularisation: Regularisation
    tolerance: float
    max_iter: int

    def solve(self, gain: Tensor, cost: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
        """Return the solver's answers as they are; NaN for problems on which it gave up.

        Args:
            gain: float64, on the CPU. Shape ``(K, N * M)``.
            cost: likewise. Shape ``(K, N * M)``.
            budget: likewise. Shape ``(K,)``.

        Returns:
            ``x (K, N * M)`` and the multiplier of the budget ``(K,)``, once differentiable.
        """
        needed = torch.is_grad_enabled() and any(
            each.requires_grad for each in (gain, cost, budget)
        )
        needed = needed and self.regularisation not in REGULARISERS
        find = eagerly(_Solve.apply)
        found = find(gain, cost, budget, self, _Tape(needed))  # type: ignore[no-untyped-call]
        return cast("tuple[Tensor, Tensor]", found)

    def options(self, *, differentiate: bool) -> dict[str, Any]:
        """Return what cvxpylayers hands to diffcp, and diffcp to Clarabel.

        Args:
            differentiate: a backward pass may follow; without one, diffcp hands every option
                to Clarabel, which knows none of the derivative's.
        """
        names = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
        solve = {
            "solve_method": "Clarabel",
            "max_iter": self.max_iter,
            **dict.fromkeys(names, self.tolerance),
        }
        if not differentiate:
            return solve
        alone = {"n_jobs_forward": 1, "n_jobs_backward": 1}
        if self.regularisation == "lpgd":
            return solve | alone | {"mode": "lpgd", "derivative_kwargs": {"tau": 1.0, "rho": 0.0}}
        return solve | alone | {"mode": "lsmr"}  # lsqr, the default, is a thousand times cruder


@final
@dataclass(frozen=True, eq=False)
class Audit:
    """How good the answers are, problem by problem.

    Args:
        failed: whether the answer was not taken. bool, shape ``(...)``.
        infeasibility: largest violation of a constraint, as a share of 1 or of the budget.
            Shape ``(...)``.
        gap: dual minus primal objective per person, in units of the temperature. ``(...)``.
    """

    failed: Tensor
    infeasibility: Tensor
    gap: Tensor


@torch.no_grad()
def audit(
    regulariser: AbstractRegulariser | None,
    gain: Tensor,
    cost: Tensor,
    budget: Tensor,
    answer: tuple[Tensor, Tensor],
    tolerance: float,
) -> Audit:
    """Check answers by the constraints and by the duality gap at the multiplier found.

    ``dual = multiplier * budget + sum_i max_x ((gain_i - multiplier * cost_i) . x + bonus(x))``
    in closed form, whatever the solver said about itself.

    Args:
        regulariser: the regulariser, None for a plain linear program.
        gain: revenue / temperature. Shape ``(K, N, M)``.
        cost: shape ``(K, N, M)``.
        budget: shape ``(K,)``.
        answer: shares ``(K, N, M)`` and multiplier ``(K,)``; NaN never passes.
        tolerance: largest infeasibility and gap that pass.
    """
    shares, multiplier = answer[0].mT, answer[1].clamp_min(0)
    spent = (cost.mT * shares).sum(dim=(-2, -1))
    violations = torch.stack(
        [
            -shares.amin(dim=(-2, -1)),
            (shares.sum(dim=-2) - 1).abs().amax(dim=-1),
            (spent - budget) / torch.where(budget > 0, budget, 1),
            torch.zeros_like(budget),
        ]
    )
    infeasibility = violations.amax(dim=0)
    kept = shares.clamp_min(0)
    scores = (gain - multiplier[..., None, None] * cost).mT
    if regulariser is None:
        best, bonus = scores.amax(dim=-2), torch.zeros_like(scores[..., 0, :])
    else:
        optimum = regulariser.shares(scores)
        best = (scores * optimum).sum(dim=-2) + regulariser.bonus(optimum)
        bonus = regulariser.bonus(kept)
    dual = multiplier * budget + best.sum(dim=-1)
    primal = ((gain.mT * kept).sum(dim=-2) + bonus).sum(dim=-1)
    gap = (dual - primal) / max(shares.shape[-1], 1)
    passed = (infeasibility <= tolerance) & (gap.abs() <= tolerance)
    return Audit(~passed, infeasibility, gap)


@lru_cache(maxsize=_CACHED)
def _layer(rows: int, treatments: int, regularisation: Regularisation) -> CvxpyLayer:
    """Build the program flat: matrix variables with matrix parameters take N^2 memory."""
    size = rows * treatments
    atoms: Any = cvxpy  # mypy does not see the functions that it exports
    shares = cvxpy.Variable(size)
    gain, cost, budget = cvxpy.Parameter(size), cvxpy.Parameter(size), cvxpy.Parameter()
    groups = cvxpy.Constant(
        sparse.kron(sparse.eye(rows), numpy.ones((1, treatments)), format="csr")
    )
    objective = gain @ shares
    if regularisation == "quadratic":
        # Term by term: one cone over all people loses two digits.
        objective = objective - atoms.sum(atoms.square(shares)) / 2
    if regularisation == "entropic":
        objective = objective + atoms.sum(atoms.entr(shares))
    within = cost @ shares <= budget
    problem = cvxpy.Problem(cvxpy.Maximize(objective), [within, groups @ shares == 1, shares >= 0])
    return CvxpyLayer(problem, [gain, cost, budget], [shares, within.dual_variables[0]])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide one warning of cvxpylayers, about how it makes arrays of tensors; it is harmless."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="__array__ implementation doesn't", category=DeprecationWarning
        )
        yield


@final
class _Tape:
    """What a forward pass leaves for the backward pass: graphs of cvxpylayers, by problems."""

    def __init__(self, needed: bool) -> None:
        self.needed = needed
        self.graphs: list[tuple[slice, list[Tensor], tuple[Tensor, ...]]] = []


@final
class _Solve(Function):
    """Keeps cvxpylayers out of the caller's graph, and says plainly what it cannot do."""

    @staticmethod
    def forward(
        gain: Tensor, cost: Tensor, budget: Tensor, program: ConicProgram, tape: _Tape
    ) -> tuple[Tensor, Tensor]:
        shares, multiplier = torch.full_like(gain, torch.nan), torch.full_like(budget, torch.nan)
        given = (gain, cost, budget)
        attempts = _attempts(given, program, tape.needed) if len(budget) else ()
        for some, leaves, outputs in attempts:
            shares[some], multiplier[some] = (each.detach() for each in outputs)
            tape.graphs.append((some, leaves, outputs))
        return shares, multiplier

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.program, ctx.tape = inputs[3:]
        ctx.save_for_backward(*inputs[:3], *output)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UnsupportedProblemError(
                "linear-program has one derivative, by plain backward: no create_graph=True and "
                "no torch.func; use the layer quadratic, which has them, or softmax."
            )
        *given, answer, multiplier = ctx.saved_tensors
        if ctx.program.regularisation in REGULARISERS:
            return *_by_conditions(given, (answer, multiplier), slopes, ctx.program), None, None
        found = [torch.zeros_like(each) for each in given]
        for some, leaves, outputs in ctx.tape.graphs:
            parted = [slope[some] for slope in slopes]
            # diffcp takes slopes below 1e-8 for 0, so it is given slopes around 1.
            size = torch.maximum(parted[0].abs().amax(dim=1), parted[1].abs())
            unit = torch.where(size > 0, size, 1)
            try:
                with torch.enable_grad(), _quiet():
                    parts = torch.autograd.grad(
                        outputs, leaves, [parted[0] / unit[:, None], parted[1] / unit]
                    )
            except SolverError as error:
                raise NotConvergedError(
                    f"linear-program: the derivative's own solve failed ({error}); take another "
                    "temperature, or the layer quadratic."
                ) from error
            for into, part in zip(found, parts, strict=True):
                into[some] = part * (unit if part.ndim == 1 else unit[:, None])
        return *found, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        raise UnsupportedProblemError(
            "linear-program has no forward-mode derivative; use the layer quadratic or softmax."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> None:
        raise UnsupportedProblemError(
            "linear-program cannot be mapped by torch.func.vmap; give it problems in leading "
            "axes, or use the layer quadratic or softmax."
        )


def _by_conditions(
    given: list[Tensor],
    answer: tuple[Tensor, Tensor],
    slopes: tuple[Tensor, ...],
    program: ConicProgram,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients in gain, cost and budget from the conditions that the optimum meets.

    The multiplier is the solver's, the shares are those that meet the conditions at it: the
    solver's own lie within its tolerance of them, which hides the ones that are 0.
    """
    regulariser = REGULARISERS[program.regularisation]
    # Where the solver gave up, another answer is taken.
    price = answer[1].nan_to_num().clamp_min(0)
    left = given[2] - (given[1] * answer[0]).sum(dim=1)
    binds = price * given[2].square() > left  # of price and money left, one is 0: nearly, here
    shape = (-1, program.rows, program.treatments)
    gain, cost, slope = (each.reshape(shape).mT for each in (given[0], given[1], slopes[0]))
    shares = regulariser.shares(gain - price[:, None, None] * cost)
    block = OptimumBlock(regulariser, cost, None, shares, torch.ones_like(price), price)
    kappa = by_budget([block], [slope], slopes[1], binds)
    by_gain, by_cost = (each.mT.flatten(1) for each in block.pull(slope, kappa))
    return by_gain, by_cost, kappa


def _attempts(
    given: tuple[Tensor, ...], program: ConicProgram, needed: bool
) -> Iterator[tuple[slice, list[Tensor], tuple[Tensor, ...]]]:
    """Solve all problems at once; one by one where one of them makes the batch fail."""
    try:
        everything = slice(None)
        yield everything, *_attempt(given, everything, program, needed)
    except SolverError:
        for index in range(given[0].shape[0]):
            some = slice(index, index + 1)
            try:
                yield some, *_attempt(given, some, program, needed)
            except SolverError:
                continue  # stays NaN, which no audit passes


def _attempt(
    given: tuple[Tensor, ...], some: slice, program: ConicProgram, needed: bool
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    leaves = [each[some].detach().clone().requires_grad_(needed) for each in given]
    layer = _layer(program.rows, program.treatments, program.regularisation)
    with torch.set_grad_enabled(needed), _quiet():
        outputs = layer(*leaves, solver_args=program.options(differentiate=needed))
    return leaves, outputs
