"""Prediction losses: golden cases, closed forms, and the two readings of pseudo-labels."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError, ShapeError
from dfl.losses import (
    doubly_robust_loss,
    factual_loss,
    full_surface_weight,
    pseudo_label_loss,
)


@pytest.fixture
def toy() -> dict[str, torch.Tensor]:
    """Toy A of the golden cases: four people, two treatments."""
    real = torch.float64
    revenue = torch.tensor([[0.30, 0.50], [0.20, 0.60], [0.40, 0.45], [0.50, 0.35]], dtype=real)
    cost = torch.tensor([[0.10, 0.20], [0.10, 0.40], [0.10, 0.50], [0.20, 0.30]], dtype=real)
    return {
        "prediction": torch.stack((revenue, cost), dim=1),
        "treatment": torch.tensor([1, 0, 1, 0]),
        "outcome": torch.tensor([[1, 0.5], [0.2, 0.1], [0.4, 0.8], [0.6, 0.3]], dtype=real),
    }


def test_full_surface_loss_matches_the_golden_case(toy: dict[str, torch.Tensor]) -> None:
    weight = full_surface_weight(torch.bincount(toy["treatment"]))[toy["treatment"]]
    loss = factual_loss(**toy, weight=weight)
    # the golden value sums (1/M) sum_i error_i / N_t, which is this weighted mean
    assert_close(loss.item(), 0.113125, atol=1e-9, rtol=0)


def test_full_surface_weight_is_unbiased_for_unequal_arms() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, share = 40_000, 0.15
    treatment = (torch.rand(rows, generator=generator) < share).long()
    outcome = torch.randn(rows, 2, 2, generator=generator)
    prediction = torch.zeros(rows, 2, 2)
    received = outcome.gather(2, treatment[:, None, None].expand(-1, 2, 1)).squeeze(2)
    weight = full_surface_weight(torch.bincount(treatment))[treatment]
    everywhere = outcome.square().sum(dim=1).mean()
    assert_close(
        factual_loss(prediction, treatment, received, weight), everywhere, rtol=0.03, atol=0
    )


def test_leading_axes_are_separate_losses(toy: dict[str, torch.Tensor]) -> None:
    stacked = {name: torch.stack((value, value.flip(0))) for name, value in toy.items()}
    assert_close(factual_loss(**stacked), factual_loss(**toy).expand(2))


@pytest.mark.parametrize("gradient", ["stopped", "flowing"])
def test_gate_at_its_ends(toy: dict[str, torch.Tensor], gradient: str) -> None:
    teacher = toy["prediction"] + 0.5
    closed = pseudo_label_loss(**toy, teacher=teacher, gate=0.0, gradient=gradient)  # type: ignore[arg-type]
    opened = pseudo_label_loss(**toy, teacher=teacher, gate=1.0, gradient=gradient)  # type: ignore[arg-type]
    assert_close(closed, factual_loss(**toy))
    assert_close(opened, factual_loss(**toy) + 2 * 0.25)  # one unseen arm, two outcomes


@pytest.mark.parametrize("gradient", ["stopped", "flowing"])
def test_gradient_is_that_of_the_definition(toy: dict[str, torch.Tensor], gradient: str) -> None:
    """Compare with the loss as the paper writes it, by autograd through y_cf or not."""
    generator = torch.Generator().manual_seed(1)
    teacher = torch.rand(4, 2, 2, generator=generator, dtype=torch.float64)
    gate = torch.rand(4, 2, 2, generator=generator, dtype=torch.float64)
    prediction = toy["prediction"].requires_grad_()
    inside = prediction if gradient == "flowing" else prediction.detach()
    label = gate * teacher + (1 - gate) * inside
    unseen = torch.nn.functional.one_hot(toy["treatment"], 2)[:, None, :] == 0
    defined = factual_loss(**toy) + ((label - prediction).square() * unseen).sum() / 4
    ours = pseudo_label_loss(**toy, teacher=teacher, gate=gate, gradient=gradient)  # type: ignore[arg-type]
    assert_close(
        torch.autograd.grad(ours, prediction)[0], torch.autograd.grad(defined, prediction)[0]
    )


def test_what_would_be_broadcast_is_refused(toy: dict[str, torch.Tensor]) -> None:
    weight, labels = torch.ones(4), toy["prediction"]
    for wrong in (
        {"treatment": toy["treatment"][:1]},
        {"outcome": toy["outcome"][0]},
        {"outcome": toy["outcome"][..., None]},
    ):
        (name,) = wrong
        for call in (
            lambda rows: factual_loss(**rows),
            lambda rows: pseudo_label_loss(**rows, teacher=labels, gate=0.5),
            lambda rows: doubly_robust_loss(**rows, imputed=labels, weight=weight),
        ):
            with pytest.raises(ShapeError, match=rf"{name} must be \(4.*, as prediction is \(4, 2"):
                call(toy | wrong)
    with pytest.raises(ShapeError, match=r"weight must be \(4,\), .*, got \(4, 1\)"):
        factual_loss(**toy, weight=weight[:, None])
    with pytest.raises(ShapeError, match=r"teacher must be \(4, 2, 2\), .*, got \(2, 2\)"):
        pseudo_label_loss(**toy, teacher=labels[0], gate=0.5)
    with pytest.raises(ShapeError, match=r"imputed must be \(4, 2, 2\), .*, got \(4, 2, 1\)"):
        doubly_robust_loss(**toy, imputed=labels[..., :1], weight=weight)


def test_pseudo_labels_of_no_treatment_or_gradient_are_refused(
    toy: dict[str, torch.Tensor],
) -> None:
    labels = {"teacher": toy["prediction"], "gate": 0.5}
    for wrong in (-1, 2):
        treatment = toy["treatment"].clone()
        treatment[3] = wrong
        with pytest.raises(InvalidValueError, match="treatment must be 0 to 1, as prediction has"):
            pseudo_label_loss(**{**toy, "treatment": treatment, **labels})  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="gradient must be one of 'stopped', 'flowing'"):
        pseudo_label_loss(**toy, **labels, gradient="stoped")  # type: ignore[arg-type]


def test_checked_losses_are_mapped_over_rows(toy: dict[str, torch.Tensor]) -> None:
    treatment = torch.stack([toy["treatment"], 1 - toy["treatment"]])

    def loss(received: torch.Tensor) -> torch.Tensor:
        rows = {**toy, "treatment": received}
        return pseudo_label_loss(**rows, teacher=toy["prediction"] + 1, gate=0.5)

    together = torch.func.vmap(loss)(treatment)
    assert_close(together, torch.stack([loss(one) for one in treatment]))
