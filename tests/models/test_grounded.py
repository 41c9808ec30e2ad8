"""Models whose revenue is corrected."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.methods import TsmSl
from dfl.models import MLP, GroundedModel, NetworkEnsemble, load_model
from dfl.models.grounding.correction import Correction, CorrectionForm
from dfl.models.grounding.evidence import Evidence
from dfl.models.grounding.words import effects, in_words
from dfl.scale import Chunks
from tests.methods.toy import SMALL, logs

FEATURES = logs(100, seed=5).features
NO_COSTS: tuple[Correction, ...] = ()


@pytest.fixture(scope="module")
def model() -> GroundedModel:
    """Two members, corrected by rows in which the last treatment earns 1.5 more than learned."""
    members = TsmSl(rows="rct", network=MLP((8,)), training=SMALL).fit(rct=logs(512))
    assert isinstance(members, NetworkEnsemble)
    rows = logs(2_000, seed=6)
    outcome = rows.revenue + 1.5 * (rows.treatment == 2)
    predicted = members.predict(rows.features).revenue
    trial = torch.zeros(2_000, dtype=torch.bool)
    alone = Evidence(predicted, outcome, rows.treatment, rows.features, trial)
    with_logs = replace(alone, logged=torch.arange(2_000) % 2 == 1)
    cost = torch.tensor([0.0, 1.0, 2.0])
    forms = [CorrectionForm(), CorrectionForm(multiplicative=False)]
    corrections = Correction.fit(alone, cost, forms) + Correction.fit(with_logs, cost, forms)
    return GroundedModel(
        (members.only(0), members.only(1)), corrections, NO_COSTS, {"a": [{"loss": 1.0}]}
    )


def test_revenue_is_the_mean_of_corrections_of_the_mean(model: GroundedModel) -> None:
    found, members = model.predict(FEATURES), [one.predict(FEATURES) for one in model.members]
    mean = (members[0].revenue + members[1].revenue) / 2
    corrected = [correction(mean, FEATURES) for correction in model.corrections]
    assert_close(found.revenue, torch.stack(corrected).mean(dim=0))
    raised = (found.revenue - mean).mean(dim=0)
    assert float(raised[2] - raised[:2].mean()) > 1.0


def test_costs_and_spread_are_those_of_the_members(model: GroundedModel) -> None:
    found = model.predict(FEATURES, spread=True)
    members = [one.predict(FEATURES) for one in model.members]
    costs = torch.stack([one.cost for one in members])
    revenues = torch.stack([one.revenue for one in members])
    assert_close(found.cost, costs.mean(dim=0))
    assert_close(found.cost_spread, costs.std(dim=0, correction=0))
    assert_close(found.revenue_spread, revenues.std(dim=0, correction=0))
    assert model.predict(FEATURES).revenue_spread is None


def test_the_spread_within_members_counts_as_well(model: GroundedModel) -> None:
    twice = GroundedModel((model, model), model.corrections, NO_COSTS, {})
    found, one = (m.predict(FEATURES, spread=True) for m in (twice, model))
    assert_close(found.revenue_spread, one.revenue_spread)


def test_chunks_of_people_are_predicted_as_all_of_them(
    model: GroundedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model.predict(FEATURES)
    monkeypatch.setattr("dfl.models.base.PREDICTED", Chunks(7))
    assert_close(model.predict(FEATURES).revenue, whole.revenue)
    assert model.predict(FEATURES[:0]).revenue.shape == (0, 3)


def test_a_model_inside_a_model_is_saved_and_read_back(
    model: GroundedModel, tmp_path: Path
) -> None:
    nested = GroundedModel((model, model.members[0]), model.corrections[:1], NO_COSTS, {"b": []})
    nested.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert isinstance(loaded, GroundedModel)
    assert (loaded.features, loaded.treatments, loaded.history) == (4, 3, {"b": []})
    assert isinstance(loaded.members[0], GroundedModel)
    again = loaded.predict(FEATURES, spread=True)
    for name, value in vars(nested.predict(FEATURES, spread=True)).items():
        assert_close(getattr(again, name), value, rtol=0, atol=0)
    for one, other in zip(loaded.members[0].corrections, model.corrections, strict=True):
        assert one.disagreement == other.disagreement
        assert one.noise_power == other.noise_power
    assert model.corrections[0].disagreement is None


@pytest.mark.parametrize("missing", ["members", "corrections"])
def test_nothing_to_average_is_refused(model: GroundedModel, missing: str) -> None:
    with pytest.raises(InvalidValueError, match=f"number of {missing} must be >= 1, got 0"):
        replace(model, **{missing: ()})  # type: ignore[arg-type]


def test_a_model_gives_an_account_of_its_corrections(model: GroundedModel) -> None:
    names = ("a", "b", "c", "$d_1"), ("none", "5%", "10%")
    found: Any = model.account(*names)
    assert found["words"] == in_words(
        model.corrections, feature_names=names[0], treatment_names=names[1]
    )
    told = found["correction"]
    assert sorted(told["features"]) == sorted(names[0])
    assert told["treatments"] == list(names[1])
    expected = effects(model.corrections)
    for feature, row in zip(told["features"], told["shares"], strict=True):
        assert row == expected[:, 1 + names[0].index(feature)].tolist()
    sizes = [max(map(abs, row)) for row in told["shares"]]
    assert sizes == sorted(sizes, reverse=True)
    assert model.account((), ())["words"] == in_words(model.corrections)
    assert model.members[0].account(*names) == {}
