"""Templates: any source renders or fails with a reason; none reaches Python's internals."""

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from message_samples import event, milestone, put

from fuzz.bounds import at_most, guarded
from notifier.domain.models import Format, Kind
from notifier.domain.rules import Template
from notifier.messages.templates import (
    MAX_OUTPUT,
    TemplateFailed,
    check_template,
    render_template,
)
from notifier.settings.types import compile_template

MEMORY_MIB = 64
VALUES: Mapping[str, object] = {
    "kind": "created",
    "title": "Bears at Packers",
    "message": "m" * 1000,
    "changes": (),
    "milestone": {"id": "1", "details": {"league": "NFL", "list": [1, 2.5, None]}},
    "start": "Sat",
    "ends": None,
    "link": "https://kalshi.com/",
    "test": False,
}


def rendered(source: str) -> str | None:
    """The output; None: the template failed with a reason."""
    with at_most(MEMORY_MIB):
        try:
            printed = render_template(source, markup=Format.MARKDOWN, values=VALUES)
        except TemplateFailed as failed:
            printed, reason = None, str(failed)
        else:
            reason = "none"
    assert 0 < len(reason) < 300
    assert printed is None or len(printed) <= MAX_OUTPUT
    return printed


MISTAKES = {
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a block that calls itself": "{% block b %}{{ self.b() }}{% endblock %}",
    "a loop that calls itself": "{% for a in message recursive %}{{ loop(message) }}{% endfor %}",
    "a long range": "{{ range(1000000000)|list }}",
    "more output than a message": "{% for a in range(999) %}" + "x" * 99 + "{% endfor %}",
    "text plus number": "{{ title + 1 }}",
    "a missing key": "{{ milestone.details.nope.nope }}",
    "a missing file": "{% include 'x' %}",
    "an unsafe filter": "{{ title|safe }}",
}
INTERNALS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ title['__class__'] }}",
    "{{ title|attr('__class__') }}",
    "{{ [title]|map(attribute='__class__')|first }}",
    "{{ '{0.__class__}'.format(title) }}",
    "{{ '{x.__class__}'.format_map({'x': title}) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ range.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ milestone.clear() }}",
    "{{ milestone.update({}) }}",
]


@pytest.mark.parametrize("source", [*MISTAKES.values(), *INTERNALS])
def test_a_bad_template_gives_way_to_the_built_in_text(source: str) -> None:
    assert rendered(source) is None

    with guarded():
        message = put(event(Kind.CREATED), template=Template(body=source))
    assert message.template_error is not None
    assert "The game is about to begin!" in message.body


@pytest.mark.parametrize("source", INTERNALS)
def test_no_template_reaches_internals_in_the_check(source: str) -> None:
    assert check_template(Template(body=source), kind=Kind.CREATED) is not None


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("{{ '%3d|%-8s|%.1f' % (7, kind, 1.25) }}", " 7|created |1.2"),
        ("{{ '{:>9}|{a}'.format(kind, a=1) }}", " created|1"),
        ("{{ '*%s*' % title }}", "∗Bears at Packers∗"),
        ("{{ [3, 1]|sort|join(' < ') }}", "1 \\< 3"),
        ("{{ title.replace('Bears', 'Lions')|upper }}", "LIONS AT PACKERS"),
        ("{{ [1, 2, 3]|sum + 2.25|round(1) }}", "8.2"),
        ("{{ '=.' * 20 }}", "=." * 20),
        ("{% for x in range(50) %}{{ x % 2 or '' }}{% endfor %}", "1" * 25),
        ("{% for a, b in {'k': 1}.items() %}{{ a }}{{ b }}{% endfor %}", "k1"),
        ("{{ milestone.details.get('league', '?') }}", "NFL"),
        ("{% filter upper %}x{{ kind }}{% endfilter %}", "XCREATED"),
        ("{{ nope|default('d') }}{{ nope is defined }}", "dFalse"),
        ("{% set x %}{{ title }}{% endset %}{{ x|length }}", "16"),
        ("{{ message|truncate(9, true) }}{{ message|length }}", "mmmmmm...1000"),
        ("{{ (milestone|tojson|length) > 20 }}", "True"),
    ],
)
def test_ordinary_jinja2_works(source: str, printed: str) -> None:
    assert rendered(source) == printed


NAMES = st.sampled_from([*VALUES, "n", "n.x", "i", "x", "nope"])
LEAVES = NAMES | st.sampled_from(["1", "99", "-1", "1.5", "none", "true", "'a'", "'%s'", "[]"])
FILTERS = st.sampled_from(
    [
        *("abs", "batch(9)", "capitalize", "default('x')", "dictsort", "e", "escape", "first"),
        *("float", "groupby('x')", "int", "items", "join(message)", "last", "length", "list"),
        *("map('upper')", "map(attribute='x')", "max", "replace('m','n')", "reverse", "round"),
        *("safe", "select('in',message)", "slice(9)", "sort", "string", "striptags", "sum"),
        *("title", "tojson", "trim", "truncate(9)", "unique", "urlize", "wordcount", "xmlattr"),
    ]
)
METHODS = st.sampled_from(
    [
        *("center(99)", "encode()", "format(1)", "format_map({})", "get('x')", "items()", "x"),
        *("join(message)", "lower()", "replace('m','n')", "split('m')", "translate({})", "_x"),
        *("__class__", "__class__.__mro__", "__init__.__globals__", "popitem()", "next()"),
    ]
)
OPERATORS = st.sampled_from(["~", "+", "-", "/", "//", "%", "in", "==", "<"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, OPERATORS, inner),
        st.builds("({}|{})".format, inner, FILTERS),
        st.builds("({}).{}".format, inner, METHODS),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{'a': {}, 'b': {}}}".format, inner, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({})[::{}]".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    )


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=6)


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    of = EXPRESSIONS
    return st.one_of(
        st.builds("{{% for i in changes %}}{}{{% else %}}{}{{% endfor %}}".format, inner, inner),
        st.builds("{{% for i in range(9) if {} %}}{}{{% endfor %}}".format, of, inner),
        st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format, of, inner, inner),
        st.builds("{{% set x %}}{}{{% endset %}}".format, inner),
        st.builds("{{% macro f(x) %}}{}{{% endmacro %}}{{{{ f({}) }}}}".format, inner, of),
        st.builds("{{% filter {} %}}{}{{% endfilter %}}".format, FILTERS, inner),
        st.builds("{{% autoescape false %}}{}{{% endautoescape %}}".format, inner),
        st.builds("{}{}".format, inner, inner),
    )


STATEMENTS = st.one_of(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS),
    st.builds("{{% set n.x = {} %}}".format, EXPRESSIONS),
    st.sampled_from(["text", "{{ loop(i) }}", "{{ caller() }}"]),
)
TEMPLATES = st.builds(
    "{{% set n = namespace(x=title) %}}{}".format,
    st.recursive(STATEMENTS, _blocks, max_leaves=6),
)


@given(TEMPLATES)
def test_any_template_renders_or_fails_with_a_reason(source: str) -> None:
    rendered(source)


MARKS = ["{{", "}}", "{%", "%}", "{#", "#}", *"|.()[]'~9", "for", "if", "set", "in", "end"]


@given(
    st.text() | st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=20).map(" ".join)
)
@example("{{ " + "9" * 5000 + " }}")
@example("{{ " + "(" * 500 + "1" + ")" * 500 + " }}")
@example("{{ x" + ".a" * 5000 + " }}")
@example("{% for a in b %}" * 25 + "{% endfor %}" * 25)
@example("{% if a %}" * 300 + "{% endif %}" * 300)
@example("{{ '\ud800' }}\ud800")
@example("x" * 1_000_000)
def test_any_text_is_accepted_or_refused_as_a_template(text: str) -> None:
    with at_most(MEMORY_MIB):
        try:
            compile_template(text)
        except ValueError:
            return
        check_template(Template(body=text), kind=Kind.CREATED)
    rendered(text)


@given(st.text(max_size=200), st.sampled_from(Format))
def test_foreign_text_is_never_a_template(text: str, markup: Format) -> None:
    odd = milestone(title="{{ 6 * 7 }}" + text, message="{% for %}" + text)
    message = put(
        event(Kind.CREATED, odd),
        markup=markup,
        template=Template(body="{{ title }}{{ message }}"),
    )

    assert message.template_error is None
    assert "42{%" not in message.body
