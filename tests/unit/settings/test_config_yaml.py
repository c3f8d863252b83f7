import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.parsing import Scalar
from notifier.errors import ConfigError
from notifier.settings.yaml_tree import locate, node_at, read_yaml


def texts(source: str) -> object:
    """The document; scalars compare like texts."""
    root, problems = read_yaml(source, source="f")
    assert problems == []
    return root


def problems(source: str) -> list[str]:
    return [str(problem) for problem in read_yaml(source, source="f")[1]]


def broken(source: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_yaml(source, source="f")
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize(
    "text",
    [*"off no yes y 08:00 1:30 2026-01-01 0x1f 1_000 010 =".split()],  # noqa: SIM905 - a list of words reads as words
)
def test_nothing_is_guessed_from_how_a_value_looks(text: str) -> None:
    assert texts(f"key: {text}") == {"key": text}


def test_a_yaml_1_1_directive_changes_nothing() -> None:
    assert texts("%YAML 1.1\n---\nkey: off") == {"key": "off"}


@pytest.mark.parametrize("text", ["", "# a comment\n", "---\n", "null", "\n\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert texts(text) == {}


def test_anchors_and_aliases_work() -> None:
    assert texts("a: &x [1, 2]\nb: *x") == {"a": ["1", "2"], "b": ["1", "2"]}


def test_a_duplicate_key_names_both_lines() -> None:
    assert problems("a:\n  b: 1\n  c: 2\n  b: 3\n") == ["f:4: a.b: is set twice, first at f:2"]


def test_a_merge_key_is_refused() -> None:
    assert problems("a: &x {b: 1}\nc:\n  <<: *x\n") == [
        "f:3: c.<<: merge keys are not part of YAML 1.2; write the keys out"
    ]


@pytest.mark.parametrize("value", ["!hunter2 x", "!!str 1", "!hunter2 [1]", "!<a:b> {}"])
def test_a_tag_is_refused_and_not_shown(value: str) -> None:
    (problem,) = problems(f"a: {value}")

    assert problem.startswith("f:1: a: begins with !, a YAML tag")
    assert "hunter2" not in problem


def test_an_alias_of_nothing_is_refused_and_not_shown() -> None:
    (problem,) = problems("url: *hunter2")

    assert problem.startswith("f:1: url: begins with *")
    assert "hunter2" not in problem


def test_every_problem_is_found_in_one_reading() -> None:
    assert len(problems("a: 1\na: 2\nb: !x 1\nc: {d: 1, d: 2}\n")) == 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("a: 1\nb: [1\nc: 2", 3, "expected ',' or ']'", id="open list"),
        pytest.param("a: 1\n\tb: 2", 2, "spaces, not tabs", id="tab"),
        pytest.param("a: 1\nb: @x", 2, "quote the value", id="reserved character"),
        pytest.param("a: 1\n\nb: {u: ${X}}", 3, 'quote it: "${VAR}"', id="variable"),
        pytest.param("a: 1\nb\n", 3, "could not find expected ':'", id="no colon"),
        pytest.param("--- {}\n--- {}", 2, "a second document", id="two documents"),
        pytest.param("a: 1\n? [b]\n: c", 2, "cannot be a key", id="list as key"),
        pytest.param("a: 1\nb: '\x07'", 2, "does not allow", id="control character"),
        pytest.param("a: !hunter!x y", 1, "(a tag)", id="tag handle"),
        pytest.param("a: 1\nb: " + "[" * 99 + "]" * 99, 2, "deeply", id="deep"),
        pytest.param("%YAML 3.0\n---\na: 1", 1, "version 1", id="other version"),
    ],
)
def test_what_is_no_yaml_is_refused_at_its_line(text: str, line: int, words: str) -> None:
    problem = broken(text)

    assert problem.startswith(f"f:{line}: ")
    assert words in problem
    assert "hunter" not in problem


def test_aliases_cannot_multiply_without_end() -> None:
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )

    assert "too large" in broken(bomb)


def test_an_alias_cannot_hold_itself() -> None:
    assert "nothing is anchored" in problems("a: &x [*x]")[0]


@given(st.text() | st.text(alphabet="a:-?[]{},&*!|>'\"%@`#$~<=0 \t\r\n\\u"))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        read_yaml(text, source="f")
        said = "f:"
    except ConfigError as exc:
        said = str(exc)

    assert said.startswith("f:")


def test_a_value_knows_its_line_and_a_mapping_that_of_its_key() -> None:
    root, _ = read_yaml("a:\n  b:\n    - 1\n    - c: 2\n  d:\n    text\n", source="f")

    assert str(locate(root, ("a", "b", 0))[0]) == "f:3"
    assert str(locate(root, ("a", "b", 1, "c"))[0]) == "f:4"
    assert str(locate(root, ("a", "b"))[0]) == "f:2"
    assert str(locate(root, ("a", "d"))[0]) == "f:6"
    assert locate(root, ("a", "b", 0, "x"))[1] == ("a", "b", 0)


def test_a_value_that_is_missing_stands_at_its_key() -> None:
    root, _ = read_yaml("a:\n\n\nb: 1\n", source="f")

    node = node_at(root, ("a",))
    assert isinstance(node, Scalar)
    assert node.empty
    assert str(node.place) == "f:1"
