from typing import Any

import pytest

from dfl.budget import Budget
from dfl.config.assembly import Assembly, describe
from dfl.config.options import METHOD, PartType, Section
from dfl.config.study import read_study
from dfl.data import AbstractDataSource
from dfl.errors import ConfigError, MissingExtraError
from dfl.hypergrad import Neumann, Unrolled
from dfl.layers import Quadratic, Softmax, Softness
from dfl.losses import LOSSES
from dfl.methods import METHODS, BiDfcl, Dfcl, TsmSl
from dfl.models import MLP
from dfl.registry import Entry, Registry
from dfl.solvers import GreedyDual
from dfl.training.bilevel import BilevelSettings
from tests.config.parts import Forgetful, Inner, Source

SOURCES: Registry[Any] = Registry(
    "data",
    AbstractDataSource,
    {
        "source": "tests.config.parts:Source",
        "extra": Entry("package_that_is_not_there:Source", extra="nowhere"),
    },
)
SOURCE = PartType(AbstractDataSource, SOURCES)


def build(method: object, **sections: Any) -> Any:
    given: dict[Section, Any] = sections  # type: ignore[assignment]  # names of sections
    return Assembly(given).build(METHOD, method, "method")


def source(**options: Any) -> Any:
    return Assembly({}).build(SOURCE, {"name": "source", **options}, "data")


def test_a_bare_name_gives_the_constructors_defaults() -> None:
    assert build("tsm-sl").rows == TsmSl().rows


def test_options_reach_the_constructor() -> None:
    method = build({"name": "kd-label", "gate": 0.7, "network": {"hidden": [3, 2]}})
    assert method.gate == 0.7
    assert method.network == MLP((3, 2))


def test_sections_go_to_whoever_asks_for_their_kind_however_deep() -> None:
    method = build(
        "bi-dfcl",
        loss={"name": "primal-policy", "estimator": "horvitz-thompson"},
        layer={"name": "softmax", "softness": {"temperature": 0.7}},
        hypergrad="conjugate-gradient",
        training={"members": 2},
    )
    assert method.loss.estimator == "horvitz-thompson"
    assert method.loss.layer.softness.temperature == 0.7
    assert type(method.hypergrad).__name__ == "ConjugateGradient"
    assert method.training.members == 2


def test_a_section_goes_to_the_outermost_option_on_a_path() -> None:
    method = build("bi-dfcl", network={"hidden": [5]})
    assert method.network == MLP((5,))
    assert method.upper.hidden == BilevelSettings().hidden


def test_a_network_given_inside_does_not_send_the_section_deeper() -> None:
    assembly = Assembly({"network": {"hidden": [5]}})
    given = {"name": "bi-dfcl", "network": {"hidden": [2]}}
    method = assembly.build(METHOD, given, "method")
    assert method.network == MLP((2,))
    assert method.upper.hidden == BilevelSettings().hidden
    assert assembly.taken == {}


def test_sections_tell_where_they_went() -> None:
    assembly = Assembly({"layer": "softmax", "network": {"hidden": [5]}})
    assembly.build(METHOD, "dfcl", "method")
    assert assembly.taken == {"layer": ["method.loss.layer"], "network": ["method.network"]}


def test_an_option_inside_a_part_wins_over_a_section() -> None:
    inner = {
        "name": "primal-policy",
        "layer": {"name": "softmax", "softness": {"temperature": 2.0}},
    }
    assembly = Assembly({"layer": {"name": "softmax", "softness": {"temperature": 0.7}}})
    method = assembly.build(METHOD, {"name": "dfcl", "loss": inner}, "method")
    assert method.loss.layer.softness.temperature == 2.0
    assert assembly.taken == {}


def test_the_part_used_by_default_keeps_its_options_there() -> None:
    default = BiDfcl().hypergrad
    for given in ("gauss-newton", {}, {"damping": 0.5}):
        made = build("bi-dfcl", hypergrad=given).hypergrad
        assert made.on_failure == default.on_failure  # type: ignore[attr-defined]
    assert build("bi-dfcl", hypergrad={"damping": 0.5}).hypergrad.damping == 0.5


def test_another_part_has_its_own_defaults() -> None:
    assert build("bi-dfcl", hypergrad="neumann").hypergrad.terms == Neumann().terms


def test_another_part_has_the_options_that_its_place_asks_for() -> None:
    for name in ("conjugate-gradient", "exact", "identity", "neumann", "nystrom"):
        made = build("bi-dfcl", hypergrad=name).hypergrad
        assert (made.curvature, made.on_failure) == ("gauss-newton", "return")
    given = {"name": "neumann", "curvature": "hessian", "on_failure": "raise"}
    made = build("bi-dfcl", hypergrad=given).hypergrad
    assert (made.curvature, made.on_failure) == ("hessian", "raise")
    assert build("bi-dfcl", hypergrad="unrolled").hypergrad.on_failure == Unrolled().on_failure


def test_a_budget_replaces_the_default_one() -> None:
    assert build({"name": "dfcl", "budgets": [{"share": 0.1}, {"per_head": 2}]}).budgets == (
        Budget(share=0.1),
        Budget(per_head=2.0),
    )


def test_null_leaves_an_optional_part_out() -> None:
    assert source(count=1, maybe=None).maybe is None
    assert source(count=1, maybe={"size": 4}).maybe.size == 4


def test_solvers_inside_layers() -> None:
    layer = {"name": "softmax", "price": {"solver": "greedy-dual"}}
    assert isinstance(build("dfcl", layer=layer).loss.layer.price.solver, GreedyDual)


@pytest.mark.parametrize(
    ("method", "sections", "message"),
    [
        (
            "tsm",
            {},
            r"method: 'tsm' is not among the methods. Did you mean 'tsm-sl'\? Known: auto-",
        ),
        (3, {}, "method must be a name or options, got 3"),
        ({}, {}, "method needs a name, one of: auto-debias, .*; got None"),
        ({"name": 3}, {}, "method needs a name, .*; got 3"),
        (
            {"name": "kd-label", "gaet": 1},
            {},
            r"method: 'gaet' is not among the options of kd-label. Did you mean 'gate'\?",
        ),
        ({"name": "kd-label", "gate": 2}, {}, r"method: gate must be in \[0, 1\], got 2"),
        ({"name": "kd-label", "gate": "x"}, {}, "method.gate: .*valid number, got 'x'"),
        ("dfcl", {"loss": "primal"}, "method.loss: 'primal' is not among the losses"),
        ("dfcl", {"layer": {"name": "softmax", "tau": 1}}, "method.loss.layer: 'tau' is not among"),
        ("dfcl", {"training": {"epoch": 1}}, r"method.training: 'epoch'.*Did you mean 'epochs'"),
        ("dfcl", {"training": {"epochs": 0}}, "method.training: epochs must be >= 1, got 0"),
        ({"name": "dfcl", "budgets": {"share": 0.3}}, {}, "method.budgets must be a list"),
        ({"name": "dfcl", "budgets": []}, {}, "number of budgets must be >= 1, got 0"),
        ({"name": "dfcl", "budgets": [{"share": 2}]}, {}, r"share must be in \[0, 1\]"),
    ],
)
def test_mistakes_name_their_place(method: object, sections: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(method, **sections)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"layer": {"name": "softmax", "temperature": 1}},
            "layer: temperature is now softness.temp",
        ),
        ({"layer": {"name": "quadratic", "solver": "greedy-dual"}}, "solver is now price.solver"),
        ({"layer": {"name": "interpolation", "strength": 1}}, "strength is now softness.temper"),
        ({"layer": {"name": "implicit-mle", "strength": 1}}, "strength is now step.temperature"),
        ({"loss": {"name": "spo-plus", "multiplier": 1}}, "loss: multiplier is now price.multi"),
        (
            {"loss": {"name": "maximum-entropy", "temperature": 1}},
            "loss: temperature is now layer.softness.temperature",
        ),
        (
            {"loss": {"name": "roi", "softness": 0.1}},
            r"loss.softness must be options, some of temperature, scale; got 0\.1",
        ),
    ],
)
def test_an_option_that_moved_is_refused_with_its_new_name(sections: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("dfcl", **sections)


def test_an_option_of_the_bridge_is_refused_with_its_new_name() -> None:
    with pytest.raises(ConfigError, match="bridge is now upper"):
        build({"name": "bi-dfcl", "bridge": {"steps": 1}})
    with pytest.raises(ConfigError, match="network is now hidden"):
        build({"name": "bi-dfcl", "upper": {"network": {"hidden": [8]}}})


def test_a_softness_given_in_part_keeps_the_rest_of_the_layers_own() -> None:
    layer = build("dfcl", layer={"name": "quadratic", "softness": {"scale": "absolute"}}).loss.layer
    assert layer.softness == Softness(1.0, "absolute")
    assert layer.price == Quadratic().price


def test_a_name_that_stands_for_options_gives_them_as_defaults() -> None:
    loss = build("dfcl", loss="maximum-entropy").loss
    assert loss.layer.softness == Softness(1.0)
    given = {"name": "maximum-entropy", "layer": {"softness": {"scale": "absolute"}}}
    loss = build("dfcl", loss=given).loss
    assert loss.layer.softness == Softness(1.0, "absolute")
    assert loss.layer.price.multiplier == 0
    loss = build("dfcl", loss="dual-finite-difference", layer="softmax").loss
    assert isinstance(loss.layer, Softmax)


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_is_described_by_its_own_name_and_built_again(name: str) -> None:
    method = build("dfcl", loss=name)
    spec: Any = describe(method, METHOD, "method")
    assert spec["loss"]["name"] == name
    assert describe(build(spec), METHOD, "method") == spec
    sections: dict[Section, object] = {}
    short = describe(method, METHOD, "method", sections=sections)
    assert describe(build(short, **sections), METHOD, "method") == spec


def test_a_part_that_has_not_all_options_of_a_name_goes_by_the_plain_one() -> None:
    given = {"name": "maximum-entropy", "layer": {"softness": {"temperature": 2.0}}}
    spec: Any = describe(build("dfcl", loss=given), METHOD, "method")
    assert spec["loss"]["name"] == "dual-policy"
    assert describe(build(spec), METHOD, "method") == spec


def test_a_row_of_a_papers_table_is_a_name_of_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._all()))
    METHODS.register("tsm-on-rct", Entry("dfl.methods.tsm_sl:TsmSl", options={"rows": "rct"}))
    assert build("tsm-on-rct").rows == "rct"
    assert build({"name": "tsm-on-rct", "rows": "obs"}).rows == "obs"
    assert METHOD.name_of(build("tsm-on-rct")) == "tsm-on-rct"
    assert METHOD.name_of(build("tsm-sl")) == "tsm-sl"
    study = read_study({"method": "tsm-on-rct"})
    assert study.name == "tsm-on-rct"
    assert read_study(study.config).config == study.config


def test_a_class_that_has_no_plain_name_is_described_by_one_that_it_has() -> None:
    table = {
        "one": Entry("tests.config.parts:Source", options={"count": 1}),
        "two": Entry("tests.config.parts:Source", options={"count": 2}),
    }
    kind = PartType(AbstractDataSource, Registry("data", AbstractDataSource, table))
    made = Assembly({}).build(kind, "two", "data")
    assert describe(made, kind, "data")["name"] == "two"
    changed = Assembly({}).build(kind, {"name": "two", "count": 3}, "data")
    spec = describe(changed, kind, "data")
    assert describe(Assembly({}).build(kind, spec, "data"), kind, "data") == spec


def test_a_required_option_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"data.count is required; give a value"):
        source()


def test_null_where_a_part_is_needed() -> None:
    assert build({"name": "dfcl", "loss": None}).loss.objective == Dfcl().loss.objective  # type: ignore[attr-defined]


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'dfl-toolkit\[nowhere\]'"):
        Assembly({}).build(SOURCE, "extra", "data")


def test_a_description_builds_an_equal_part() -> None:
    made = source(count=2, label="x", many=[{"size": 1}, {}], maybe={"network": {"hidden": []}})
    spec = describe(made, SOURCE, "data")
    assert spec["many"] == [
        {"network": {"name": "mlp", "hidden": [7]}, "size": 1},
        {"network": {"name": "mlp", "hidden": [7]}, "size": 3},
    ]
    again = Assembly({}).build(SOURCE, spec, "data")
    assert describe(again, SOURCE, "data") == spec


def test_a_description_spells_out_every_option() -> None:
    spec: Any = describe(Dfcl(budgets=(Budget(share=0.3),)), METHOD, "method")
    assert spec["loss"]["layer"]["price"]["solver"] == {
        "name": "dual-bisection",
        "on_infeasible": "least-spend",
    }
    assert spec["budgets"] == [{"share": 0.3}]


def test_a_description_lifts_what_sections_would_hand_back() -> None:
    sections: dict[Section, object] = {}
    method = build("bi-dfcl", layer={"name": "softmax", "softness": {"temperature": 2.0}})
    spec = describe(method, METHOD, "method", sections=sections)
    assert {"loss", "hypergrad", "network", "training"}.isdisjoint(spec)
    assert spec["upper"] == describe(method.upper, PartType(BilevelSettings), "upper")
    again = build(spec, **sections)
    assert describe(again, METHOD, "method") == describe(method, METHOD, "method")


def test_what_a_section_cannot_hand_back_stays_in_the_part() -> None:
    sections: dict[Section, object] = {"training": {"members": 3}}
    spec: Any = describe(
        build("dfcl", training={"members": 2}), METHOD, "method", sections=sections
    )
    assert spec["training"]["members"] == 2
    assert sections["training"] == {"members": 3}


def test_a_part_must_keep_its_options() -> None:
    layers: Registry[Any] = Registry(
        "layers", Forgetful, {"forgetful": "tests.config.parts:Forgetful"}
    )
    with pytest.raises(ConfigError, match="Forgetful must keep its option 'strength' as an attr"):
        describe(Forgetful(), PartType(Forgetful, layers), "layer")


def test_what_is_no_plain_data_cannot_be_described() -> None:
    made = Source(count=1, call=print, inner=Inner())
    with pytest.raises(ConfigError, match=r"data.call is a builtin_function_or_method"):
        describe(made, SOURCE, "data")
