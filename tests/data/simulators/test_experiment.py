import pytest
import torch

from dfl.config import read_study
from dfl.data import CriteoLikeSimulator, HybridRecipe, SimulatedExperiment
from dfl.errors import ConfigError, InvalidValueError

ADS = CriteoLikeSimulator(noise=0.316, rct_shares=(0.15, 0.85))


def test_an_experiment_is_cut_up_as_a_file_is() -> None:
    made = SimulatedExperiment(simulator=ADS, rows=40_000, recipe=HybridRecipe(epsilon=0.0))
    parts = made.hybrid(0)
    assert parts.rct is not None
    assert parts.obs is not None
    assert [len(one) for one in (parts.rct, parts.validation, parts.test)] == [2000, 4000, 12_000]
    assert 5_000 < len(parts.obs) < 17_000  # those that had what the old policy proposed
    assert parts.obs.source == "obs"
    assert parts.test.truth is not None
    assert float((parts.test.treatment == 1).float().mean()) == pytest.approx(0.85, abs=0.02)
    assert parts.encoder is not None
    assert parts.encoder.feature_names == ADS.feature_names


def test_the_seed_decides() -> None:
    made = SimulatedExperiment(simulator=ADS, rows=20_000)
    first, again, other = (made.hybrid(seed).test.features for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_configuration_names_the_simulator() -> None:
    data = {
        "name": "simulated-experiment",
        "simulator": {"name": "coupon", "hidden_confounding": 0.5},
        "rows": 5000,
        "recipe": {"share": 0.5},
    }
    study = read_study({"method": "tsm-sl", "data": data})
    assert study.data_name == "simulated-experiment"
    again = read_study(study.config)
    assert again.config == study.config
    assert study.config["data"]["simulator"]["hidden_confounding"] == 0.5
    with pytest.raises(ConfigError, match=r"data\.simulator: 'coupn' is not among the data"):
        read_study({"method": "tsm-sl", "data": {**data, "simulator": "coupn"}})


def test_rows_out_of_range() -> None:
    with pytest.raises(InvalidValueError, match="rows must be >= 1, got 0"):
        SimulatedExperiment(rows=0)
