"""Baselines of the doubly robust estimator: nobody's outcome goes into their own prediction."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.data.uplift_data import UpliftData
from dfl.losses import PrimalPolicy
from dfl.methods import BiDfcl, BilevelSettings, Dfcl, Monitor, Training, TrainingSet
from dfl.models import MLP, Scaling
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.nuisance import CrossFitted, folds_of, with_teacher_baseline
from dfl.training.rows import RowPool
from tests.methods.toy import logs

TRAINING = Training(epochs=4, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))
ROBUST = PrimalPolicy(estimator="doubly-robust")


def networks_of(*sets: TrainingSet) -> Networks:
    """Return two networks per set; units are those of the first rows, whatever changes later."""
    scalings = [Scaling.fit(logs(400, seed=9)) for _ in sets]
    return Networks(sets, scalings, NetworkPlan.of(sets, 2, [(0.1,)] * len(sets)), MLP((8,)), "")


def pool_of(one: Networks) -> RowPool:
    return one.pool(lambda each: each.rows("rct"))


def cross_fitted(*parts: UpliftData, training: Training = TRAINING) -> Tensor:
    """Return the baselines of several sets' rows."""
    networks = networks_of(*(TrainingSet(rct=part, seed=index) for index, part in enumerate(parts)))
    pool = CrossFitted.of(networks, training, Monitor()).on_rows(pool_of(networks))
    assert pool.baseline is not None
    return pool.baseline


def test_no_outcome_goes_into_its_own_prediction() -> None:
    rows = logs(400, seed=1)
    fold = folds_of(rows, seed=0)
    changed = rows.revenue.clone()
    changed[fold == 2] += 50
    before, after = cross_fitted(rows), cross_fitted(replace(rows, revenue=changed))
    assert before.shape == (400, 2, 3)
    assert_close(after[fold == 2], before[fold == 2], rtol=0, atol=0)
    assert bool((after[fold != 2] != before[fold != 2]).any(dim=(1, 2)).all())


def test_sets_are_kept_apart() -> None:
    first, second = logs(300, seed=1), logs(200, seed=2)
    both = cross_fitted(first, second)
    assert_close(both[:300], cross_fitted(first)[:300], rtol=1e-4, atol=1e-4)
    changed = cross_fitted(first, replace(second, revenue=second.revenue + 50))
    assert_close(changed[:300], both[:300])
    assert bool((changed[300:, 0] != both[300:, 0]).all())


def test_baselines_are_worth_subtracting() -> None:
    """They explain the outcome of rows that they did not see."""
    rows = logs(2_000, seed=1)
    baseline = cross_fitted(rows, training=replace(TRAINING, min_steps=200, learning_rate=1e-2))
    seen = rows.treatment[:, None]
    for column, outcome in enumerate((rows.revenue, rows.cost)):
        missed = outcome - baseline[:, column].gather(1, seen)[:, 0]
        assert float(missed.var()) < 0.9 * float(outcome.var())


def test_folds_are_of_one_size_and_keep_groups_together() -> None:
    rows = logs(400, seed=1)
    assert torch.bincount(folds_of(rows, seed=0)).tolist() == [80] * 5
    assert bool((folds_of(rows, seed=0) != folds_of(rows, seed=1)).any())
    grouped = folds_of(replace(rows, groups=torch.arange(400) // 4), seed=0).reshape(100, 4)
    assert bool((grouped == grouped[:, :1]).all())


def test_unseen_rows_get_the_mean_of_the_folds() -> None:
    networks = networks_of(TrainingSet(rct=logs(400, seed=1)), TrainingSet(rct=logs(400, seed=2)))
    fit = CrossFitted.of(networks, TRAINING, Monitor())
    unseen = networks_of(TrainingSet(rct=logs(60, seed=5)), TrainingSet(rct=logs(60, seed=6)))
    index = torch.arange(120).reshape(2, 60).repeat_interleave(2, dim=0)
    batch = fit.on_unseen(pool_of(unseen)).take(index)
    assert batch.logged.baseline_revenue is not None
    assert batch.logged.baseline_revenue.shape == (4, 60, 3)
    assert_close(batch.logged.baseline_revenue[0], batch.logged.baseline_revenue[1])
    assert bool((batch.logged.baseline_revenue[1] != batch.logged.baseline_revenue[2]).any())


def test_teachers_give_the_mean_of_their_networks() -> None:
    networks = networks_of(TrainingSet(rct=logs(400, seed=1)), TrainingSet(rct=logs(300, seed=2)))
    parameters = networks.initial(networks.stacked, "teacher")
    pool = with_teacher_baseline(pool_of(networks), networks, parameters)
    assert pool.baseline is not None
    index = torch.tensor([3, 399, 400, 650])
    batch = pool.take(index[None])
    assert batch.logged.baseline_cost is not None
    assert_close(batch.logged.baseline_cost[0], pool.baseline[index, 1])
    outcomes = networks.stacked(parameters, pool.features[index].expand(4, -1, -1))
    revenue, _ = networks.scaling.currency(outcomes)
    assert_close(pool.baseline[index[:2], 0], revenue[:2, :2].mean(dim=0))
    assert_close(pool.baseline[index[2:], 0], revenue[2:, 2:].mean(dim=0))


@pytest.mark.parametrize(
    "method",
    [
        Dfcl(loss=ROBUST, decision_epochs=2, network=MLP((8,)), training=TRAINING),
        BiDfcl(
            loss=ROBUST,
            upper=BilevelSettings(every=1, warm_epochs=0),
            network=MLP((8,)),
            training=TRAINING,
        ),
    ],
)
@pytest.mark.parametrize("watched", [True, False])
def test_methods_train_doubly_robust(method: Dfcl | BiDfcl, watched: bool) -> None:
    validation = logs(200, seed=3) if watched else None
    parts = {"rct": logs(400, seed=1), "validation": validation}
    if isinstance(method, BiDfcl):
        parts["obs"] = logs(400, source="obs", seed=2)
    model = method.fit(**parts)
    assert bool(model.predict(logs(50, seed=4).features).revenue.isfinite().all())
    plain = replace(method, loss=PrimalPolicy()).fit(**parts)
    assert any(not torch.equal(v, plain.parameters[k]) for k, v in model.parameters.items())
