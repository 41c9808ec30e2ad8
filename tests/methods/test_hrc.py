"""HRC: disjoint rows, the number of segments, other representations, options."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from dfl import Budget
from dfl.data import UpliftData
from dfl.errors import DataError, InvalidValueError
from dfl.methods import Grounded, Hrc, PolicyTree, TsmSl
from dfl.models import MLP, Prediction
from dfl.segments import HiddenSegments, Scores, SegmentModel
from dfl.segments.clusters import Clusters
from dfl.segments.making import Tabulation, _Evidence
from dfl.segments.representation import KINDS, Kind
from dfl.training.settings import TrainingSet, hold_out
from tests.methods.toy import ARMS, SMALL, logs, outcomes

BASE = TsmSl(network=MLP((16, 8)), training=SMALL, rows="rct")


def fitted(rct: UpliftData, **options: Any) -> SegmentModel:
    model = Hrc(**{"base": BASE, "cell": 20, **options}).fit(rct=rct)
    assert isinstance(model, SegmentModel)
    return model


def test_the_table_is_of_rows_that_made_neither_networks_nor_segments() -> None:
    rct = logs(3_000, seed=1)
    plain = Tabulation(doubly_robust=False, shrinkage=False)
    model = fitted(rct, held_out=0.3, tabulation=plain)
    own, other = (one.rct for one in hold_out(TrainingSet(rct=rct, seed=0), 0.3))
    assert own is not None
    assert other is not None
    assert isinstance(model.segmenter, HiddenSegments)
    alone = BASE.fit(rct=own)
    features = logs(50, seed=2).features
    assert_close(model.segmenter.model.predict(features).revenue, alone.predict(features).revenue)
    label = model.segmenter.assign(other.features)
    for k in range(model.segmenter.segments):
        for arm in range(ARMS):
            cell = other.revenue[(label == k) & (other.treatment == arm)].double()
            assert len(cell) == int(model.table.rows[k, arm]) >= 20
            assert float(model.table.revenue[k, arm]) == pytest.approx(float(cell.mean()))


def test_everyone_is_predicted_their_segment_s_row() -> None:
    model = fitted(logs(3_000, seed=1), counts=(4,))
    features = logs(200, seed=2).features
    found = model.predict(features, spread=True)
    label = model.segmenter.assign(features)
    assert found.revenue_spread is not None
    assert_close(found.revenue.double(), model.table.revenue[label], rtol=1e-6, atol=0)
    assert_close(found.revenue_spread.double(), model.table.revenue_error[label], rtol=1e-6, atol=0)


def test_the_number_of_segments_is_that_of_largest_held_out_value() -> None:
    model = fitted(logs(6_000, seed=1), counts=(2, 5, 10))
    tried = model.history["segments"]
    assert len(tried) == 3
    assert all(one["segments"] <= most for one, most in zip(tried, (2, 5, 10), strict=True))
    best = max(tried, key=lambda one: one["value"])
    assert model.segmenter.segments == best["segments"]


def test_a_total_is_money_for_all_the_rows_of_the_tables() -> None:
    rows, budget = logs(120, seed=1), Budget(per_head=0.5)
    predicted = Prediction(*outcomes(rows.features))
    scores, fold = Scores.of(rows, predicted), torch.arange(120) % 2
    evidence = _Evidence(rows, predicted, scores, rows.features, fold)
    clusters = Clusters(rows.features[:2], torch.arange(2))
    usual = evidence.value(clusters, [budget], Tabulation())
    money = Budget(total=0.5 * 120)
    assert evidence.value(clusters, [money], Tabulation()) == pytest.approx(usual)


@pytest.mark.parametrize("kind", KINDS)
def test_every_representation_serves(kind: Kind) -> None:
    model = fitted(logs(2_000, seed=1), representation=kind, counts=(3,))
    label = model.segmenter.assign(logs(500, seed=2).features)
    assert len(label.unique()) == model.segmenter.segments == 3


def test_segments_of_what_is_learned_beat_those_of_chance() -> None:
    test = logs(4_000, seed=9)
    truth = outcomes(test.features)[0]
    effect = truth[:, 2] - truth[:, 0]

    def told(kind: Kind) -> float:
        model = fitted(logs(6_000, seed=1), representation=kind, counts=(8,))
        label = model.segmenter.assign(test.features)
        means = torch.stack([effect[label == k].mean() for k in range(model.segmenter.segments)])
        return float(means[label].var() / effect.var())

    shares = {kind: told(kind) for kind in KINDS}
    assert shares["random"] < 0.02
    assert shares["hidden"] > 0.2


def test_the_correction_of_grounded_serves_inside() -> None:
    model = fitted(logs(2_000, seed=1), base=Grounded(base=BASE), counts=(3,))
    assert model.segmenter.segments == 3
    assert "correction" in model.history


def test_too_few_rows_leave_one_segment() -> None:
    few = logs(400, seed=1)
    model = fitted(few, cell=500)
    assert model.segmenter.segments == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"representation": "soul"}, "representation must be one of"),
        ({"layers": 0}, "layers must be >= 1"),
        ({"counts": ()}, "number of counts must be >= 1"),
        ({"counts": (0,)}, "counts must be >= 1"),
        ({"cell": -1}, "cell must be >= 0"),
        ({"held_out": 1.0}, "held_out must be in"),
        ({"folds": 1}, "folds must be >= 2"),
        ({"budgets": ()}, "number of budgets must be >= 1"),
        ({"base": PolicyTree()}, "base method that trains outcome networks, got PolicyTree"),
        ({"base": Hrc()}, "base method that trains outcome networks, got Hrc"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        Hrc(**options)


def test_rows_that_the_base_method_refuses_are_refused_before_anything_is_trained() -> None:
    several = TsmSl(rows="rct", training=replace(SMALL, weight_decay=(0.1, 0.2)))
    with pytest.raises(DataError, match="several weight_decay values needs validation rows"):
        Hrc(base=several).check(TrainingSet(rct=logs(100, seed=1)))
    flat = Hrc(base=replace(BASE, network=MLP(())))
    with pytest.raises(InvalidValueError, match="needs hidden layers, the network has none"):
        flat.check(TrainingSet(rct=logs(100, seed=1)))


def test_trees_serve_where_their_predictions_are_clustered() -> None:
    assert "rct" in Hrc(base=PolicyTree(), representation="predictions").uses


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="shape must be one of"):
        Tabulation(shape="round")  # type: ignore[arg-type]
