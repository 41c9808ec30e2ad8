"""Every layer and every decision loss trains, by its name alone, in every method that takes one."""

from typing import Any

import pytest
import torch

from dfl.config import choose_part, load_config, read_study
from dfl.data import HybridData
from dfl.layers import LAYERS
from dfl.losses import LOSSES
from dfl.models import AbstractModel
from tests.pipeline.tiny import tiny_config

# The shipped configuration of each method, the stage that decides, and how to make it short.
METHODS = {"dfcl": ("dfcl-ppl", "decision"), "bi-dfcl": ("bi-dfcl", "target")}
OPTIONS: dict[str, dict[str, Any]] = {
    "dfcl": {"decision_epochs": 1},
    "bi-dfcl": {"upper": {"every": 1, "warm_epochs": 0, "steps": 1, "batch_size": 64}},
}


@pytest.fixture(scope="module")
def draw() -> HybridData:
    """One draw of a simulator with five treatments."""
    return read_study(tiny_config()).data.hybrid(0)


def trained(name: str, section: str, part: str, draw: HybridData) -> AbstractModel:
    """Train two networks with a part in its place, everything else as shipped."""
    shipped = choose_part(load_config(METHODS[name][0]), section, part)
    config = {**tiny_config(), **{key: shipped[key] for key in ("loss", "layer") if key in shipped}}
    study = read_study(config | {"method": {"name": name, **OPTIONS[name]}})
    study.check()
    return study.method.fit(rct=draw.rct, obs=draw.obs, validation=draw.validation)


def check(model: AbstractModel, stage: str, draw: HybridData) -> None:
    assert model.history[stage]
    for epoch in model.history[stage]:
        assert stage == "decision" or "upper_loss" in epoch  # the gate learned
        assert all(torch.tensor(value).isfinite() for value in epoch.values()), epoch
    predicted = model.predict(draw.test.features)
    assert bool(predicted.revenue.isfinite().all())
    assert bool(predicted.cost.isfinite().all())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("layer", LAYERS.names())
def test_a_layer_is_swapped_by_its_name(name: str, layer: str, draw: HybridData) -> None:
    check(trained(name, "layer", layer, draw), METHODS[name][1], draw)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("loss", LOSSES.names())
def test_a_loss_is_swapped_by_its_name(name: str, loss: str, draw: HybridData) -> None:
    check(trained(name, "loss", loss, draw), METHODS[name][1], draw)
