from dataclasses import replace
from pathlib import Path

import torch

from dfl.data import CouponSimulator, CriteoLikeSimulator, HybridData, PartSizes
from dfl.methods import Grounded, KdLabel, PolicyTree, Training, TsmSl
from dfl.pipeline.advice import rank_advice
from dfl.pipeline.run import run
from tests.pipeline.tiny import Noting, tiny_study

FEW = PartSizes(rct=400, obs=3_000, validation=200, test=200)


def rows(kind: type[CouponSimulator | CriteoLikeSimulator]) -> HybridData:
    return kind(sizes=FEW).hybrid(0)


def test_ranks_are_advised_where_one_value_holds_many_rows() -> None:
    found = rank_advice(TsmSl(), rows(CriteoLikeSimulator))
    assert found is not None
    assert found.startswith("One value holds many rows of f1 (9")
    assert " and 9 more: training.ranks may help" in found
    assert rank_advice(Grounded(base=KdLabel()), rows(CriteoLikeSimulator)) == found
    alone = replace(rows(CriteoLikeSimulator), obs=None)
    assert rank_advice(TsmSl(rows="rct"), alone) is not None


def test_normal_features_those_of_two_values_and_ranks_that_are_on_need_no_advice() -> None:
    assert rank_advice(TsmSl(), rows(CouponSimulator)) is None
    assert rank_advice(TsmSl(training=Training(ranks=True)), rows(CriteoLikeSimulator)) is None
    assert rank_advice(PolicyTree(), replace(rows(CouponSimulator), obs=None, rct=None)) is None


def test_features_without_names_are_numbered() -> None:
    data = rows(CouponSimulator)
    assert data.obs is not None
    features = data.obs.features.clone()
    features[torch.arange(len(features)) % 2 == 0, 4] = 0.0
    part = replace(data.obs, features=features, feature_names=())
    found = rank_advice(TsmSl(), replace(data, obs=part))
    assert found is not None
    assert "feature 4 (50%): training.ranks" in found


def test_a_run_says_it_once(tmp_path: Path) -> None:
    data = {"name": "criteo-like", "sizes": {"rct": 900, "obs": 900, "validation": 900}}
    noting = Noting()
    run(tiny_study(data=data | {"sizes": data["sizes"] | {"test": 900}}), tmp_path / "run", noting)  # type: ignore[operator]
    assert sum("training.ranks may help" in line for line in noting.said) == 1
