"""Prediction first: what rows are learned from."""

import torch

from dfl.methods import TsmSl
from dfl.models import MLP
from tests.methods.toy import SMALL, logs, training_set


def test_rows_decide_what_is_learned_from() -> None:
    one = training_set(0)
    assert TsmSl().uses == ("rct", "obs")
    for rows, others in (("rct", "obs"), ("obs", "rct")):
        method = TsmSl(rows=rows, network=MLP((8,)), training=SMALL)  # type: ignore[arg-type]
        assert method.uses == (rows,)
        parts = {part: getattr(one, part) for part in ("rct", "obs", "validation")}
        first = method.fit(**parts)
        changed = {**parts, others: logs(300, source=others, seed=77, dtype=torch.float64)}  # type: ignore[arg-type]
        second = method.fit(**changed)
        features = logs(20, seed=5, dtype=torch.float64).features
        assert torch.equal(first.predict(features).revenue, second.predict(features).revenue)
