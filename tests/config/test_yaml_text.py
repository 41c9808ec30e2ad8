from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.config.yaml_text import from_yaml, read_yaml, to_yaml
from dfl.errors import ConfigError, DataNotFoundError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E+5", -200_000.0),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("12", 12),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("'1e-3'", "1e-3"),
        ("1.2.3", "1.2.3"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("0x1F", 31),
        ("2020-01-01", "2020-01-01"),
        ("2020-99-99", "2020-99-99"),
        ("null", None),
        ("[1, a]", [1, "a"]),
    ],
)
def test_a_number_is_a_number_and_a_word_is_a_word(text: str, value: object) -> None:
    parsed = from_yaml(text, "x")
    assert parsed == value
    assert type(parsed) is type(value)


# PyYAML reads some control characters and line separators back as spaces.
TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXT
    | st.sampled_from(["1e-3", "1e5", "no", "true", "0x1F", "12:30", "2020-01-01", ".5", "~", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, PLAIN, max_size=4))
def test_what_is_written_is_read_back(content: dict[str, object]) -> None:
    assert from_yaml(to_yaml(content), "x") == content


def test_keys_keep_their_order() -> None:
    assert list(from_yaml(to_yaml({"b": 1, "a": 2}), "x")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"not valid YAML: the key 'a' is given twice in line 2, column 1\.$"),
        ("x: {b: 1, b: 2}", "the key 'b' is given twice"),
        ("a: [1", r"YAML: while parsing a flow sequence, expected .* in line 1, column 6\.$"),
        ("a: !!python/object:os.system {}", "the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: !!timestamp 2020-99-99", "the tag 'tag:yaml.org,2002:timestamp' is not taken"),
        ("a: !!binary aGk=", "the tag 'tag:yaml.org,2002:binary' is not taken"),
        ("a: !!set {b, c}", "the tag 'tag:yaml.org,2002:set' is not taken"),
        ("a: {<<: {b: 1}}", "the tag 'tag:yaml.org,2002:merge' is not taken"),
        ("a: !!int x", r"conf.yaml is not valid YAML: invalid literal for int"),
        ("a: !!bool x", r"conf.yaml is not valid YAML"),
        ("a: !!float ''", r"conf.yaml is not valid YAML"),
        (f"a: {'9' * 5000}", "Exceeds the limit"),
        ("a: &b [*b]", "an alias holds itself"),
        (f"a: {'[' * 5000}", "is nested too deeply"),
        ("? [a]\n: 1", "found unhashable key"),
        ('a: "\\ud800"', "surrogates not allowed"),
        ("a: \x00", "special characters are not allowed"),
        ("--- 1\n--- 2", "expected a single document"),
        ("a: " + "b" * 1_000_000, "1,000,003 letters, too many for a configuration"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n1: 2\n1: 3", "the key '1' is given twice"),
        ("just words", r"must hold sections such as 'method: tsm-sl', got str"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_yaml(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        read_yaml(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no configuration file at"):
        read_yaml(tmp_path / "conf.yaml")


def test_a_text_that_unfolds_without_end_is_refused_at_once(tmp_path: Path) -> None:
    levels = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    path = tmp_path / "conf.yaml"
    path.write_text("\n".join(["a0: &a0 [lol]", *levels]))
    with pytest.raises(ConfigError, match="its aliases unfold to too much"):
        read_yaml(path)


def test_aliases_that_stay_small_are_taken_and_written_out() -> None:
    content = from_yaml("a: &x {b: 1}\nc: *x", "x")
    assert content == {"a": {"b": 1}, "c": {"b": 1}}
    assert "&" not in to_yaml(content)
