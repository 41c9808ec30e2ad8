import csv
from pathlib import Path

import pytest
import torch

from dfl.data import CriteoLikeSimulator, PotentialOutcomes, UpliftData
from dfl.data.simulators.criteo_like import OFF_MODE_THRESHOLDS, FeatureState, features_of
from dfl.data.sources.criteo import Criteo
from dfl.seeds import stream

ROWS = 300_000


@pytest.fixture(scope="module")
def people() -> UpliftData:
    return CriteoLikeSimulator().draw(ROWS, generator=stream(0, "criteo-like"))


def truth_of(data: UpliftData) -> PotentialOutcomes:
    assert data.truth is not None
    return data.truth


def test_mean_rates_are_the_published_ones(people: UpliftData, real_data: Path | None) -> None:
    published = {arm.name: dict(arm.means) for arm in Criteo.card.arms}
    if real_data is not None and (real_data / "criteo_full_rates.csv").is_file():
        with (real_data / "criteo_full_rates.csv").open() as file:
            for row in csv.DictReader(file):
                name = {"control": "control", "treatment": "treated"}[row["arm"]]
                rate = int(row["visit_count"]) / int(row["n"])
                assert published[name]["visit"] == pytest.approx(rate)
                rate = int(row["conversion_count"]) / int(row["n"])
                assert published[name]["conversion"] == pytest.approx(rate)
    else:
        print("criteo_full_rates.csv not found: rates of the data card alone")
    for arm, rates in enumerate(published.values()):
        visit, conversion = (
            float(table[:, arm].double().mean())
            for table in (truth_of(people).cost, truth_of(people).revenue)
        )
        assert visit == pytest.approx(rates["visit"], rel=0.01)
        assert conversion == pytest.approx(rates["conversion"], rel=0.015)


def test_a_conversion_implies_a_visit(people: UpliftData) -> None:
    assert set(people.revenue.unique().tolist()) == set(people.cost.unique().tolist()) == {0, 1}
    assert bool((people.revenue <= people.cost).all())
    assert bool((truth_of(people).revenue < truth_of(people).cost).all())


def test_effects_differ_between_people(people: UpliftData) -> None:
    visits = truth_of(people).cost.diff(dim=1).squeeze(1)
    conversions = truth_of(people).revenue.diff(dim=1).squeeze(1)
    assert float(visits.min()) >= 0
    assert float(visits.std()) > 0.5 * float(visits.mean())
    rate = conversions / visits
    low, high = rate.double().quantile(torch.tensor([0.1, 0.9], dtype=torch.float64))
    assert float(high) > 2 * float(low)


# Share of rows at the mode and median of the full file, for machines without the profile.
MODES = {"f0": (0.2651, 21.92), "f2": (0.5224, 8.2144), "f6": (0.2651, -2.41), "f9": (0.795, 13.19)}


def test_features_follow_the_published_profile(people: UpliftData, real_data: Path | None) -> None:
    path = None if real_data is None else real_data / "criteo_full_feature_profile.csv"
    names = people.feature_names
    if path is None or not path.is_file():
        print("criteo_full_feature_profile.csv not found: four modes and medians instead")
        for name, (share, median) in MODES.items():
            column = people.features[:, names.index(name)]
            at_mode = float((column == column.mode().values).float().mean())
            assert at_mode == pytest.approx(share, abs=0.005)
            assert float(column.median()) == pytest.approx(median, abs=0.1)
        return
    with path.open() as file:
        for row in csv.DictReader(file):
            column = people.features[:, names.index(row["feature"])].sort().values
            mode = float(row["mode_value"])
            at_mode = float(((column - mode).abs() < 1e-3).float().mean())
            assert at_mode == pytest.approx(float(row["mode_share"]), abs=0.005)
            for level in (0.01, 0.25, 0.5, 0.75, 0.99):
                expected = float(row[f"q{level:g}"])
                near = [float(column[int((level + slack) * ROWS)]) for slack in (-0.004, 0.004)]
                assert near[0] - 0.02 <= expected <= near[1] + 0.02, (row["feature"], level)


def test_pairs_of_features_leave_their_mode_together(people: UpliftData) -> None:
    away = people.features != people.features.mode(dim=0).values
    for first, second in ((0, 6), (2, 8), (4, 10), (5, 7)):
        # a position right beside the mode rounds to it in float32, in one of the two
        assert float((away[:, first] != away[:, second]).float().mean()) < 1e-4
    assert float((away[:, 1] != away[:, 11]).float().mean()) > 0.01


def test_positions_run_through_the_range_away_from_the_mode() -> None:
    groups = len(OFF_MODE_THRESHOLDS)
    everywhere = FeatureState(torch.ones(groups, 101), torch.linspace(0, 1, 101).repeat(12, 1))
    at_mode = FeatureState(torch.zeros(groups, 101), everywhere.position)
    features, modes = features_of(everywhere), features_of(at_mode)
    assert float(features.diff(dim=1).min()) > 0
    assert torch.equal(modes, modes[:, :1].expand_as(modes))
    ends = torch.stack([features[:, 0], features[:, -1]])
    assert torch.isclose(ends, modes[:, 0]).any(dim=0).all()
