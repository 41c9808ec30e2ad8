from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from dfl.errors import DataError, InvalidValueError, MissingExtraError, UnsupportedProblemError
from dfl.models import Prediction
from dfl.pipeline import RunFolder, Silent, exporting, run
from dfl.pipeline.exporting import export_rule
from dfl.pipeline.served import Served
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual, decide
from tests.pipeline.tiny import tiny_config, tiny_study, write_shop

TRAINING = tiny_config()["training"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("run"), "tsm-sl")


def run_of(path: Path, method: str, **training: object) -> RunFolder:
    data = write_shop(path / "shop.parquet")
    study = tiny_study(method, data=data, training=TRAINING | training)
    return run(study, path / "run", Silent())


@pytest.mark.parametrize(
    ("method", "training"),
    [("tsm-sl", {}), ("tsm-sl", {"ranks": True}), ("grounded-in-sample", {})],
)
def test_a_rule_decides_as_the_model(
    method: str, training: dict[str, object], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run_of(tmp_path, method, **training)
    done = export_rule(folder, tmp_path / "rule.onnx")
    assert capfd.readouterr() == ("", "")
    assert (done.rows, done.path.exists()) == (100_000, True)
    assert done.differ < 10
    session = onnxruntime.InferenceSession(str(done.path))
    model = Served.of(folder).model
    features = torch.randn(7, model.features, generator=torch.Generator().manual_seed(0))
    given = {"features": features.numpy(), "price": np.array(0.7, np.float32)}
    revenue, _, choice = session.run(None, given)
    predicted = model.predict(features)
    assert choice.tolist() == decide(predicted.revenue, predicted.cost, 0.7).tolist()
    torch.testing.assert_close(torch.from_numpy(revenue), predicted.revenue)
    given["features"][[2, 5], [0, 1]] = np.nan, np.inf
    odd = session.run(None, given)
    assert [bool(np.isnan(row).all()) for row in odd[0]] == [row in (2, 5) for row in range(7)]
    assert odd[2].tolist() == [-1 if row in (2, 5) else one for row, one in enumerate(choice)]
    for price in (-1.0, np.nan):
        assert (
            session.run(["choice"], given | {"price": np.array(price, np.float32)})[0] == -1
        ).all()
    about = session.get_modelmeta().custom_metadata_map
    assert about["treatments"] == '["mail", "letter"]'
    assert '"age"' in about["features"]
    with pytest.raises(InvalidValueError, match="exists already; choose another file"):
        export_rule(folder, done.path)


def test_a_multiplier_rounded_to_float32_keeps_the_budget() -> None:
    """Four kinds of people, of whom all of one kind are indifferent at the multiplier."""
    for seed in (65, 82, 244):  # where the multiplier, or a quotient, is rounded beyond the other
        generator = torch.Generator().manual_seed(seed)
        revenue, cost = torch.rand(4, 3, generator=generator), torch.rand(4, 3, generator=generator)
        revenue, cost = 10 * revenue + 50, 3 * cost * torch.tensor([0.0, 1, 1])
        kind = torch.randint(4, (2000,), generator=generator)
        told = Prediction(revenue[kind], cost[kind])
        budget = 0.4 * float(told.cost.amax(dim=1).sum())
        found = GreedyDual().solve(AllocationProblem(told.revenue, told.cost, budget))
        model = SimpleNamespace(predict_rows=lambda features, spread, told=told: told)
        rule = exporting._Rule(model)  # type: ignore[arg-type]  # all that it asks of a model
        *_, choice = rule(torch.zeros(2000, 1), found.multiplier.float())
        assert float(told.cost.double().gather(1, choice[:, None]).sum()) <= budget


def test_what_does_not_decide_as_the_model_is_not_written(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "rule.onnx"
    with pytest.raises(InvalidValueError, match=r"output must end in \.onnx"):
        export_rule(folder, tmp_path / "rule.pt")
    right = exporting.tournament
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "tournament", lambda *given: 1 - right(*given))
        with pytest.raises(DataError, match="choices at price 0 are not the model's"):
            export_rule(folder, output, rows=100)
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "decide", lambda *_: 1 / 0)
        patch.setattr(exporting._Rule, "forward", lambda self, x, p: (x.tolist(), p, x))
        with pytest.raises(UnsupportedProblemError, match="kind 'ensemble' cannot be exported"):
            export_rule(folder, output)
    monkeypatch.setattr(exporting, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="an export needs onnx, onnxscript, onnxruntime"):
        export_rule(folder, output)
    assert not output.exists()
