"""Training on decisions: the second stage lowers the decision loss, and can be left."""

from dataclasses import replace

import pytest
import torch

from dfl.budget import Budget
from dfl.layers import FiniteDifference, Softmax, Softness
from dfl.losses import DualPolicy, ImprovedFiniteDifference, LoggedBatch, PrimalPolicy
from dfl.methods import METHODS, Dfcl, Training
from dfl.models import MLP, NetworkEnsemble
from dfl.training.decision_level import budget_per_head
from tests.methods.toy import ONCE, SMALL, factual_errors, found, logs

LONG = replace(SMALL, epochs=4, min_steps=200)


def method(training: Training = LONG, **options: object) -> Dfcl:
    return Dfcl(network=MLP((8,)), training=training, **options)  # type: ignore[arg-type]


def test_the_loss_is_the_one_of_the_docstring() -> None:
    rows, budgets = (
        logs(512, seed=1, dtype=torch.float64),
        (Budget(share=0.2), Budget(per_head=0.9)),
    )
    model = method(ONCE, prediction_weight=2.0, budgets=budgets, price="batch").fit(rct=rows)
    assert isinstance(model, NetworkEnsemble)
    revenue, cost = model.scaling.currency(found(model, rows)["outcomes"])
    batch = LoggedBatch(rows.treatment, rows.revenue, rows.cost, rows.weight)
    earned = [
        PrimalPolicy()(revenue, cost, batch, budget_per_head(budget, rows) * len(rows))
        for budget in budgets
    ]
    decision = torch.stack(earned).mean() / model.scaling.revenue_scale
    expected = float(2 * factual_errors(model, rows).mean() + decision)
    assert model.history["decision"][0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_published_policy_loss_is_a_name() -> None:
    published = METHODS.make("dfcl-pl")
    assert isinstance(published, Dfcl)
    assert isinstance(published.loss, DualPolicy)
    assert published.loss.estimator == "horvitz-thompson"
    assert published.loss.multipliers == (0.1, 0.5, 1.0)
    assert isinstance(published.loss.layer, Softmax)
    assert published.loss.layer.softness == Softness(1.0, "absolute")


def test_each_name_of_the_papers_has_its_loss_and_layer() -> None:
    made = {name: METHODS.make(f"dfcl-{name}") for name in ("ppl", "pifd", "dpl", "difd", "mer")}
    losses = {name: one.loss for name, one in made.items() if isinstance(one, Dfcl)}
    layers = {
        name: (type(one), type(one.layer))
        for name, one in losses.items()
        if isinstance(one, PrimalPolicy | DualPolicy)
    }
    assert layers == {
        "ppl": (PrimalPolicy, Softmax),
        "pifd": (PrimalPolicy, FiniteDifference),
        "dpl": (DualPolicy, Softmax),
        "difd": (DualPolicy, FiniteDifference),
        "mer": (DualPolicy, Softmax),
    }
    assert losses["mer"].layer.softness == Softness(1.0)  # type: ignore[attr-defined]
    improved = METHODS.make("dfcl-ifd")
    assert isinstance(improved, Dfcl)
    assert isinstance(improved.loss, ImprovedFiniteDifference)


def test_the_second_stage_starts_from_the_first_and_is_kept_where_it_helps() -> None:
    model = method().fit(rct=logs(2_000, seed=1), validation=logs(1_000, seed=3))
    stages = model.history
    assert len(stages["warm-start"]) == 4
    assert len(stages["decision"]) == 4  # as many epochs
    found = [epoch["validation"] for epoch in stages["decision"]]
    assert min(found) <= found[0] + 1e-6


def test_without_validation_rows_the_last_epoch_is_kept() -> None:
    one = method(decision_epochs=2).fit(rct=logs(500, seed=1))
    assert all("validation" not in epoch for epoch in one.history["decision"])


def test_the_budget_it_is_trained_at_matters() -> None:
    rows, features = logs(2_000, seed=1), logs(200, seed=5).features
    low = method(budgets=(Budget(share=0.1),)).fit(rct=rows).predict(features)
    high = method(budgets=(Budget(share=0.9),)).fit(rct=rows).predict(features)
    assert not torch.allclose(low.revenue, high.revenue, atol=1e-3)


def test_several_budgets_are_averaged() -> None:
    model = method(budgets=(Budget(share=0.2), Budget(per_head=0.5))).fit(rct=logs(500, seed=1))
    assert torch.tensor([epoch["loss"] for epoch in model.history["decision"]]).isfinite().all()
