"""Costs are corrected where the experiment refutes those of the logs, and only there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.models.grounding.correction import CorrectionForm
from dfl.models.grounding.costs import cost_corrections
from dfl.models.grounding.evidence import Evidence

FORMS = (CorrectionForm(), CorrectionForm(multiplicative=False))
PLAIN = torch.tensor([0.0, 1.0, 2.0])
ROWS = 6_000


def rows(
    wrong: Callable[[Tensor], Tensor],
    *,
    noise: float = 0.5,
    trial: int = ROWS // 2,
    dtype: torch.dtype = torch.float32,
) -> tuple[Evidence, Tensor]:
    """Return costs, those of the logs made ``wrong``, and the true ones.

    Predictions are what networks make of both: half of either.
    """
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(ROWS, 3, generator=generator)
    treatment = torch.randint(3, (ROWS,), generator=generator)
    truth = PLAIN * (1 + 0.3 * features[:, :1]).clamp(0.1, 3)
    logged = torch.arange(ROWS) >= trial
    outcome = truth.gather(1, treatment[:, None]).squeeze(1)
    outcome = outcome + noise * torch.randn(ROWS, generator=generator) * (treatment > 0)
    taken = torch.where(logged[:, None], wrong(truth), truth)
    lie = (taken - truth).gather(1, treatment[:, None]).squeeze(1)
    predicted = (truth + wrong(truth)) / 2
    evidence = Evidence(
        predicted.to(dtype), (outcome + lie).to(dtype), treatment, features.to(dtype), logged
    )
    return evidence, truth.to(dtype)


def corrected(evidence: Evidence) -> Tensor:
    """Return the mean of the corrections, which must be there."""
    found = cost_corrections(evidence, PLAIN, FORMS)
    assert len(found) == len(FORMS)
    return torch.stack([one(evidence.predicted, evidence.features) for one in found]).mean(dim=0)


def mixed_up(cost: Tensor) -> Tensor:
    return cost.flip(1)


def with_a_fee(cost: Tensor) -> Tensor:
    return cost + torch.tensor([0.0, 1.5, 1.5])


def in_another_unit(cost: Tensor) -> Tensor:
    return 5 * cost


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wrong", [mixed_up, with_a_fee, in_another_unit])
def test_costs_of_the_logs_that_are_wrong_are_put_right(
    wrong: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    evidence, truth = rows(wrong, dtype=dtype)
    served = corrected(evidence)
    assert served.dtype == dtype
    before = float((evidence.predicted - truth).abs().mean())
    assert float((served - truth).abs().mean()) < 0.5 * before


def test_sound_logs_leave_costs_alone() -> None:
    evidence, _ = rows(lambda cost: cost)
    assert cost_corrections(evidence, PLAIN, FORMS) == ()


def test_a_bias_that_is_certain_and_small_leaves_costs_alone() -> None:
    """Costs without noise: a bias of 2 % is beyond doubt, and changes no decision."""
    evidence, _ = rows(lambda cost: 1.02 * cost, noise=0.0)
    assert cost_corrections(evidence, PLAIN, FORMS) == ()


def test_a_bias_that_is_large_and_uncertain_leaves_costs_alone() -> None:
    evidence, _ = rows(with_a_fee, noise=3.0, trial=60)
    assert cost_corrections(evidence, PLAIN, FORMS) == ()


def test_the_same_cost_for_everybody_is_no_trouble() -> None:
    evidence, _ = rows(lambda cost: cost)
    fixed = PLAIN.expand(ROWS, 3)
    paid = PLAIN[evidence.treatment]
    flat = Evidence(fixed, paid, evidence.treatment, evidence.features, evidence.logged)
    assert cost_corrections(flat, PLAIN, FORMS) == ()
    free = Evidence(0 * fixed, 0 * paid, evidence.treatment, evidence.features, evidence.logged)
    assert cost_corrections(free, 0 * PLAIN, FORMS) == ()


def test_without_logs_nothing_is_refuted() -> None:
    evidence, _ = rows(mixed_up, trial=ROWS)
    assert cost_corrections(evidence, PLAIN, FORMS) == ()


def test_the_order_of_rows_does_not_matter() -> None:
    evidence, _ = rows(mixed_up, dtype=torch.float64)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    shuffled = corrected(evidence.rows(order))
    assert_close(shuffled, corrected(evidence)[order], rtol=1e-6, atol=1e-8)
