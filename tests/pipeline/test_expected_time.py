import pytest

from dfl.data import CouponSimulator, PartSizes
from dfl.methods import Dfcl, Grounded, Training, TrainingSet, TsmSl
from dfl.pipeline import expected_time as module
from dfl.pipeline.expected_time import expected_seconds, in_words


def training_set() -> TrainingSet:
    sizes = PartSizes(rct=2000, obs=30_000, validation=500, test=100)
    data = CouponSimulator(sizes=sizes).hybrid(0)
    return TrainingSet(rct=data.rct, obs=data.obs, validation=data.validation)


QUICK = Training(epochs=2, batch_size=128, members=1, weight_decay=(0.1,))
PAIR = Training(epochs=2, batch_size=128, members=2, weight_decay=(0.1,))


def test_a_short_training_is_not_announced() -> None:
    long = Training(epochs=2, batch_size=1024, members=1, weight_decay=(0.1,))
    assert expected_seconds(TsmSl(training=long), [training_set()]) is None


@pytest.mark.parametrize(
    "method",
    [
        TsmSl(training=QUICK),
        Dfcl(training=QUICK, decision_epochs=1),
        Grounded(base=TsmSl(training=PAIR)),
    ],
)
def test_two_short_trainings_announce_a_long_one(
    method: TsmSl | Dfcl | Grounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def seconds(method: object, sets: object, share: float) -> float:
        asked.append(share)
        return 1.0 + 100 * share  # a second of its own, and 100 for all rows

    one = training_set()
    assert module._seconds(method, [one], 0.02) > 0
    monkeypatch.setattr(module, "_seconds", seconds)
    assert expected_seconds(method, [one]) == pytest.approx(101)
    assert max(asked) == pytest.approx(6 * 128 / 32_000)


def test_too_few_rows_for_every_treatment_are_no_announcement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SMALL", 0.01)
    assert expected_seconds(TsmSl(training=QUICK), [training_set()]) is None


def test_times_in_words() -> None:
    shown = [in_words(seconds) for seconds in (3.21, 89, 600, 5399, 12_345)]
    assert shown == ["3.2 s", "89 s", "10 min", "90 min", "3.4 h"]
