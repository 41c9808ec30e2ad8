"""DR-JT: the doubly robust loss, and the residuals that are imputed along."""

from dataclasses import replace

import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.losses.prediction import doubly_robust_loss
from dfl.methods import DrJt, Ips
from dfl.models import MLP
from tests.methods.toy import ONCE, SMALL, found, logs, outcomes


def test_the_doubly_robust_loss_by_hand() -> None:
    prediction = torch.tensor([[[1.0, 2.0], [0.0, 1.0]]])  # one row, two outcomes, two treatments
    imputed = torch.tensor([[[2.0, 4.0], [1.0, 1.0]]])
    treatment, outcome = torch.tensor([1]), torch.tensor([[5.0, 3.0]])
    weight = torch.tensor([0.5])
    # Imputed errors 1, 4 of revenue and 1, 0 of cost; true ones at treatment 1: 9 and 4.
    expected = (1 + 4 + 1 + 0) / 2 + 0.5 * ((9 + 4) - (4 + 0))
    value = doubly_robust_loss(prediction, imputed, treatment, outcome, weight)
    assert float(value) == pytest.approx(expected)


def test_right_imputations_need_no_weights_and_right_weights_no_imputations() -> None:
    rows = logs(200_000, source="obs", seed=2, dtype=torch.float64)
    revenue, cost = outcomes(rows.features)
    truth = torch.stack((revenue, cost), dim=1)
    prediction, treatment = (
        truth + torch.tensor([[0.5, 1.0, -1.0], [0.0, 0.2, 0.0]]),
        rows.treatment,
    )
    own = torch.arange(len(rows)), slice(None), treatment
    noiseless = truth[own]
    wanted = float((prediction - truth).square().sum(dim=(1, 2)).mean() / 3)
    chance = (1.5 * rows.features[:, 1:2] * torch.arange(3)).softmax(dim=1)
    weight = 1 / (3 * chance[own[0], treatment])
    for imputed, rare in ((truth, torch.ones_like(weight)), (truth + 0.3, weight)):
        value = doubly_robust_loss(prediction, imputed, treatment, noiseless, rare)
        assert float(value) == pytest.approx(wanted, rel=0.03)


def test_where_nothing_is_imputed_yet_the_loss_is_twice_the_weighted_one() -> None:
    rows = logs(512, source="obs", seed=2, dtype=torch.float64)
    joint = DrJt(network=MLP((4,)), training=ONCE).fit(obs=rows)
    alone = Ips(network=MLP((4,)), training=ONCE).fit(obs=rows)  # same chances, same weights
    assert torch.equal(found(joint, rows)["outcomes"], found(alone, rows)["outcomes"])
    first, second = (model.history["target"][0]["loss"] for model in (joint, alone))
    assert first == pytest.approx(2 * second, rel=1e-6)  # served, and the residual's own


def test_residuals_are_learned_along() -> None:
    rows = logs(512, source="obs", seed=2)
    models = [
        DrJt(network=MLP((4,)), training=replace(SMALL, members=1), hidden=hidden).fit(obs=rows)
        for hidden in ((4,), (16,))
    ]
    first, second = (found(model, rows)["outcomes"] for model in models)
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"least": 0.0}, r"least must be in \(0, 1\], got 0"),
        ({"hidden": (0,)}, "hidden sizes must be >= 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        DrJt(**options)  # type: ignore[arg-type]
