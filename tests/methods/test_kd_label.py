"""A gate between a teacher and the logs, fixed."""

from dataclasses import replace

from torch.testing import assert_close

from dfl.methods import (
    BilevelSettings,
    KdLabel,
    TsmSl,
)
from dfl.models import MLP, NetworkEnsemble
from tests.methods.toy import SMALL, training_set

BRIDGE = BilevelSettings(hidden=(4,), every=2, steps=2, batch_size=64, warm_epochs=1)


def assert_same(first: NetworkEnsemble, second: NetworkEnsemble, tolerance: float = 0.0) -> None:
    assert_close(first.parameters, second.parameters, rtol=tolerance, atol=tolerance)


def test_a_gate_of_zero_is_the_two_stage_method() -> None:
    one = training_set(0)
    student = KdLabel(gate=0.0, network=MLP((8,)), training=SMALL).fit_many([one])[0]
    assert_same(student, TsmSl(network=MLP((8,)), training=SMALL).fit_many([one])[0])


def test_a_gate_of_one_pulls_the_student_to_the_teacher() -> None:
    one, training = training_set(0), replace(SMALL, epochs=10)
    teacher = TsmSl(rows="rct", network=MLP((8,)), training=training).fit_many([one])[0]

    def distance(gate: float) -> float:
        student = KdLabel(gate=gate, network=MLP((8,)), training=training).fit_many([one])[0]
        features = one.obs.features  # type: ignore[union-attr]
        gap = student.predict(features).revenue - teacher.predict(features).revenue
        return float(gap.square().mean())

    assert distance(1.0) < 0.8 * distance(0.0)
