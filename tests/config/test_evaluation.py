import pytest

from dfl.config import read_study
from dfl.config.evaluation import EvaluationSettings
from dfl.errors import ConfigError, InvalidValueError
from dfl.metrics import Bootstrap


def test_the_defaults_are_those_of_the_bootstrap_and_doubly_robust() -> None:
    settings = EvaluationSettings()
    default = Bootstrap()
    found = settings.bootstrap
    assert (found.draws, found.level, found.seed) == (default.draws, default.level, default.seed)
    assert settings.estimator == "doubly-robust"


def test_a_configuration_names_the_estimator_and_is_written_back() -> None:
    study = read_study({"method": "tsm-sl", "evaluation": {"estimator": "self-normalised"}})
    assert study.evaluation == EvaluationSettings(estimator="self-normalised")
    assert study.config["evaluation"]["estimator"] == "self-normalised"
    with pytest.raises(
        ConfigError, match=r"evaluation\.estimator: Input should be 'doubly-robust'"
    ):
        read_study({"method": "tsm-sl", "evaluation": {"estimator": "naive"}})


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="estimator must be one of 'doubly-robust', 'self-"):
        EvaluationSettings(estimator="naive")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="draws must be >= 2, got 1"):
        EvaluationSettings(draws=1)
