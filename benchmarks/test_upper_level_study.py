"""The study of upper levels, small; run with: pytest benchmarks/test_upper_level_study.py."""

from pathlib import Path

import pytest

from benchmarks import upper_level_study as upper
from dfl.data import PartSizes
from dfl.methods import BilevelSettings, Training
from tests.methods.toy import SMALL, training_set


@pytest.mark.parametrize("level", ["evidence", "decisions", "decisions, doubly robust"])
def test_the_bias_is_learned_from_the_upper_level(level: str) -> None:
    settings = BilevelSettings(hidden=(), every=2, steps=2, batch_size=64, warm_epochs=0)
    method = upper.LogsBias(level=level, upper=settings, training=SMALL)  # type: ignore[arg-type]
    history = method.fit_many([training_set(0)])[0].history
    assert {"target", "refit-target"} <= history.keys()
    assert history["target"][-1]["reading_spread"] > 1e-3


def test_a_stopped_study_goes_on_and_its_table_has_every_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upper, "WORLDS", {"confounded": {"hidden_confounding": 1.0}})
    training = Training(epochs=3, members=1, min_steps=3, weight_decay=(0.5,))
    sizes = PartSizes(rct=400, obs=600, validation=300, test=500)
    found = upper.study(tmp_path / "r.json", range(900, 902), training, sizes)
    assert upper.study(tmp_path / "r.json", range(0), training, sizes) == found
    assert upper.table(found).count("\n") == 1 + len(upper.methods(training))
