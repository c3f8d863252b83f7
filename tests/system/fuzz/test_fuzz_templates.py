"""Templates: whatever one says, it fills or fails, soon, and in little memory."""

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from message_samples import event, milestone, put

from fuzz.bounds import at_most, examples, guarded
from notifier.domain.models import Format, Kind, Template
from notifier.messages.render import check_template
from notifier.messages.templates import LONGEST_OUTPUT, TemplateFailed, fill
from notifier.settings.template import template
from notifier.settings.tree import Place, Scalar

#: What one template may need, whatever it does.
MEMORY_MIB = 32
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


def tried(source: str) -> str | None:
    """What it prints; None: it fails, and says why."""
    with at_most(MEMORY_MIB):
        try:
            printed = fill(source, markup=Format.MARKDOWN, values=VALUES)
        except TemplateFailed as failed:
            printed, cause = None, failed.__cause__
        else:
            cause = None
    assert not isinstance(cause, MemoryError)
    assert len(printed or "") <= LONGEST_OUTPUT
    return printed


def looped(step: str, *, first: str = "title") -> str:
    """A value that is made anew sixty times over: what doubles, ends the world."""
    return (
        f"{{% set n = namespace(x={first}) %}}"
        f"{{% for i in range(60) %}}{{% set n.x = {step} %}}{{% endfor %}}{{{{ n.x }}}}"
    )


LONG = "{% set r = range(9000) %}{% set l = r|list %}"
GREEDY = {
    "nested loops": LONG + "{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "a filtered loop": LONG + "{% for a in r %}{% for b in r if false %}{% endfor %}{% endfor %}",
    "loops over Kalshi's text": "{% for a in message %}{% for b in message %}"
    "{% for c in message %}{% endfor %}{% endfor %}{% endfor %}",
    "a loop that calls itself": "{% for a in message recursive %}{{ loop(message) }}{% endfor %}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}"
    "{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a block that calls itself": "{% block b %}{{ self.b() }}{% endblock %}",
    "~": looped("n.x ~ n.x"),
    "+": looped("n.x + n.x"),
    "lists": looped("[n.x, n.x]"),
    "tuples": looped("(n.x, n.x)"),
    "mappings": looped("{1: n.x, 2: n.x}"),
    "growing numbers": looped("n.x * n.x", first="9"),
    "join": looped("n.x.join(n.x)"),
    "join by a filter": looped("n.x|join(n.x)"),
    "replace": looped("n.x.replace('a', n.x)"),
    "replace by a filter": looped("n.x|replace('a', n.x)"),
    "format": looped("'%s%s' % (n.x, n.x)"),
    "str.format": looped("'{0}{0}'.format(n.x)"),
    "a macro": "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}" + looped("f(n.x)"),
    "a captured text": "{% set n = namespace(x=title) %}{% for i in range(60) %}"
    "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
    "a chain that keeps everything": "{% set n = namespace(p=none) %}"
    "{% for i in range(9000) %}"
    "{% set n.p = namespace(p=n.p, v=message ~ i) %}{% endfor %}",
    "a captured text without values": "{% set n = namespace(p=none) %}"
    "{% for i in range(9000) %}{% set y %}" + "x" * 9000 + "{% endset %}"
    "{% set n.p = namespace(p=n.p, v=y) %}{% endfor %}",
    "comparisons": LONG + "{% for i in l %}{% if 'x' in l %}{% endif %}{% endfor %}",
    "equality": LONG + "{% for i in l %}{% if l == r|list %}{% endif %}{% endfor %}",
    "tests": LONG + "{% for i in l %}{% if 'x' is in l %}{% endif %}{% endfor %}",
    "selections": LONG + "{% for i in l %}{% set x = l|select('in', l)|list %}{% endfor %}",
    "slices": LONG + "{% for i in l %}{% set x = l[:] %}{% endfor %}",
    "range": "{{ range(1000000000)|list }}",
    "*": "{{ 'x' * 1000000000 }}",
    "* of lists": "{{ [1] * 1000000000 }}",
    "**": "{{ 9 ** 999999999 }}",
    "a wide %": "{{ '%1000000000d' % 1 }}",
    "a precise %": "{{ '%.1000000000f' % 1 }}",
    "a % as wide as one says": "{{ '%*d' % (1000000000, 1) }}",
    "many wide %": "{{ '" + "%999d" * 200 + "' % (" + "1," * 200 + ") }}",
    "a wide format": "{{ '{:1000000000}'.format(1) }}",
    "a format as wide as one says": "{{ '{:{}}'.format(1, 1000000000) }}",
    "a format padded with digits": "{{ '{:9>1000000000}'.format(1) }}",
    "a format as wide as other digits say": "{{ '{:１０００００００００}'.format(1) }}",
    "a wide format behind a brace": "{{ '{{{:{{>1000000000}'.format(1) }}",
    "a wide % behind a name": "{{ '%((a))1000000000d' % {'(a)': 1} }}",
    "% with names without end": "{{ '" + "%(" * 30_000 + "' % {} }}",
    "a wide % behind %%": "{{ '%%%-1000000000d' % 1 }}",
    "a wide format_map": "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "the filter format": "{{ '%1000000000d'|format(1) }}",
    "center": "{{ title.center(1000000000) }}",
    "the filter center": "{{ title|center(1000000000) }}",
    "ljust": "{{ title['ljust'](1000000000) }}",
    "zfill": "{{ title.zfill(1000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(1000000000) }}",
    "to_bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "indent": "{{ title|indent(1000000000) }}",
    "batch": "{{ [1]|batch(1000000000, 'x')|first|length }}",
    "slice": "{{ [1]|slice(1000000000)|list|length }}",
    "round": "{{ 1.5|round(1000000000, 'ceil') }}",
    "round, by map": "{{ [1]|map('round', -1000000000)|list }}",
    "sum": "{{ [[1], [2]]|sum(start=[]) }}",
    "lipsum": "{{ lipsum(1000000) }}",
    "the object's class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "the class, by name": "{{ title['__class__'] }}",
    "the class, by attr": "{{ title|attr('__class__') }}",
    "the class, by map": "{{ [title]|map(attribute='__class__')|first }}",
    "the class, by format": "{{ '{0.__class__}'.format(title) }}",
    "a function's globals": "{{ cycler.__init__.__globals__ }}",
    "this template's own": "{{ self._TemplateReference__context }}",
    "changes to the milestone": "{{ milestone.clear() }}",
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_template_gives_way_soon(name: str) -> None:
    assert tried(GREEDY[name]) is None

    with guarded():
        told = put(event(Kind.CREATED), template=Template(body=GREEDY[name]))
        check_template(Template(body=GREEDY[name]), kind=Kind.CREATED)

    assert told.template_error is not None
    assert "The game is about to begin!" in told.body


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("{{ '%3d|%-8s|%.1f' % (7, kind, 1.25) }}", " 7|created |1.2"),
        ("{{ '{:>9}|{a}'.format(kind, a=1) }}", " created|1"),
        ("{{ '*%s*' % title }}", "∗Bears at Packers∗"),
        ("{{ '*{}*'.format(kind) }}", "∗created∗"),
        ("{{ 'season 2026: {}'.format(kind) }}", "season 2026: created"),
        ("{{ '%s, 2026%s' % (kind, 1) }}", "created, 20261"),
        ("{{ '%(kind)s %%2026 %(2026)s' % {'kind': 1, '2026': 2} }}", "1 %2026 2"),
        ("{{ '{{2026 {:2>5} {:.3f}'.format(7, 1) }}", "{2026 22227 1.000"),
        ("{{ '{:*^9}'.format(kind) }}", "∗created∗"),
        ("{{ '" + "100%% " * 200 + "%s' % 1 }}", "100% " * 200 + "1"),
        ("{{ [3, 1]|sort|join(' < ') }}", "1 \\< 3"),
        ("{{ title.replace('Bears', 'Lions')|upper }}", "LIONS AT PACKERS"),
        ("{{ title.split()|first }} {{ title[:5] }}", "Bears Bears"),
        ("{{ [1, 2, 3]|sum + 2.25|round(1) }}", "8.2"),
        ("{{ ['a', 'b']|map('upper')|join }}", "AB"),
        ("{% for x in range(50) %}{{ x % 2 or '' }}{% endfor %}", "1" * 25),
        ("{% for a, b in {'k': 1}.items() %}{{ a }}{{ b }}{% endfor %}", "k1"),
        ("{{ milestone.details.get('league', '?') }}", "NFL"),
        ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}", "ab"),
        ("{% filter upper %}x{{ kind }}{% endfilter %}", "XCREATED"),
        ("{{ nope|default('d') }}{{ nope is defined }}", "dFalse"),
        ("{% set x %}{{ title }}{% endset %}{{ x|length }}", "16"),
        ("{{ message|truncate(9, true) }}{{ message|length }}", "mmmmmm...1000"),
        ("{{ (milestone|tojson|length) > 20 }}", "True"),
        ("{% for x in [1] recursive %}{{ x }}{% endfor %}", "1"),
    ],
)
def test_an_ordinary_template_notices_nothing(source: str, printed: str) -> None:
    assert tried(source) == printed


WIDE = [
    "{{ '%1000d' % 1 }}",
    "{{ '%.1000f' % 1 }}",
    "{{ '%*d' % (5, 1) }}",
    "{{ '%(a)1000d' % changes[0].after }}",
    "{{ '{:1000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 5) }}",
    "{{ '{a:1000}'.format_map({'a': 1}) }}",
    "{{ '{:1000}'['format'](1) }}",
    "{{ '" + "%s" * 100 + "' % changes }}",
]


@pytest.mark.parametrize("wide", WIDE)
@pytest.mark.parametrize(
    "around",
    ["{}", "{{% if kind == 'no such kind' %}}{}{{% endif %}}{{{{ title }}}}"],
)
def test_a_wide_format_that_stands_there_is_found_by_the_check(wide: str, around: str) -> None:
    source = around.format(wide)
    node = Scalar(text=source, written=source, place=Place("f", 1), quoted=True)

    with pytest.raises(ValueError, match=r"widths up to 999|65,536 characters"):
        template(node)
    assert check_template(Template(body=source)) is not None


NAMES = st.sampled_from([*VALUES, "n", "n.x", "i", "x", "nope"])
LEAVES = NAMES | st.sampled_from(
    ["1", "999999999", "-1", "1.5", "none", "true", "'a'", "'%s'", "[]", "range(9)"]
)
FILTERS = st.sampled_from(
    [
        "abs",
        "batch(9)",
        "batch(999999999,1)",
        "capitalize",
        "count",
        "d('x')",
        "dictsort",
        "e",
        "first",
        "float",
        "groupby(0)",
        "int",
        "items",
        "join",
        "join(message)",
        "last",
        "length",
        "list",
        "lower",
        "map('upper')",
        "map(attribute='x')",
        "max",
        "min",
        "reject",
        "replace('m',message)",
        "reverse",
        "round",
        "round(99999999,'floor')",
        "select",
        "select('in',message)",
        "selectattr('x')",
        "slice(9)",
        "slice(999999999)",
        "sort",
        "string",
        "striptags",
        "sum",
        "title",
        "tojson",
        "trim",
        "truncate(9)",
        "unique",
        "upper",
        "urlencode",
        "wordcount",
        "filesizeformat",
        "int(9,16)",
    ]
)
METHODS = st.sampled_from(
    [
        "center(999999999)",
        "encode()",
        "format(1)",
        "get('x')",
        "items()",
        "join(message)",
        "keys()",
        "ljust(999999999)",
        "lower()",
        "replace('m',message)",
        "split()",
        "split('m')",
        "strip()",
        "translate({})",
        "x",
        "zfill(999999999)",
        "__class__",
        "__class__.__mro__",
        "_x",
        "popitem()",
        "copy()",
        "count('m')",
        "format_map({})",
        "next()",
        "cycle(1,2)",
        "changed(n)",
        "to_bytes(999999999,'big')",
    ]
)
OPERATORS = st.sampled_from(["~", "+", "-", "*", "**", "/", "//", "%", "in", "==", "<"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, OPERATORS, inner),
        st.builds("({}|{})".format, inner, FILTERS),
        st.builds("({}).{}".format, inner, METHODS),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("({}, {})".format, inner, inner),
        st.builds("{{'a': {}, 'b': {}}}".format, inner, inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({})[::{}]".format, inner, inner),
        st.builds("f({})".format, inner),
        st.builds("namespace(x={}, y={})".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    )


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=6)


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    of = EXPRESSIONS
    return st.one_of(
        st.builds("{{% for i in {} %}}{}{{% endfor %}}".format, of, inner),
        st.builds("{{% for i in {} if {} %}}{}{{% endfor %}}".format, of, of, inner),
        st.builds("{{% for i in range(999) %}}{}{{% endfor %}}".format, inner),
        st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format, of, inner, inner),
        st.builds("{{% set x %}}{}{{% endset %}}".format, inner),
        st.builds("{{% macro f(x) %}}{}{{% endmacro %}}".format, inner),
        st.builds("{{% filter {} %}}{}{{% endfilter %}}".format, FILTERS, inner),
        st.builds("{{% call f({}) %}}{}{{% endcall %}}".format, of, inner),
        st.builds("{{% autoescape false %}}{}{{% endautoescape %}}".format, inner),
        st.builds("{}{}".format, inner, inner),
    )


STATEMENTS = st.one_of(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS),
    st.builds("{{% set n.x = {} %}}".format, EXPRESSIONS),
    st.builds("{{% set x = {} %}}".format, EXPRESSIONS),
    st.sampled_from(["text", "{{ f(x) }}", "{{ loop(i) }}", "{{ caller() }}"]),
)
TEMPLATES = st.builds(
    "{{% set n = namespace(x=title) %}}{}".format,
    st.recursive(STATEMENTS, _blocks, max_leaves=8),
)


@examples(300)
@given(TEMPLATES)
def test_any_template_prints_or_fails_soon(source: str) -> None:
    tried(source)


@examples(100)
@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                "{{",
                "}}",
                "{%",
                "%}",
                "{#",
                "#}",
                *"|.()[]'~9",
                "for",
                "if",
                "set",
                "in",
                "end",
            ]
        )
        | st.text(max_size=3)
    ).map(" ".join)
)
@example("{{ " + "9" * 5000 + " }}")
@example("{{ " + "(" * 500 + "1" + ")" * 500 + " }}")
@example("{{ 1" + " + 1" * 5000 + " }}")
@example("{{ x" + ".a" * 5000 + " }}")
@example("{% for a in b %}" * 25 + "{% endfor %}" * 25)
@example("{% if a %}" * 300 + "{% endif %}" * 300)
@example("{{ '\ud800' }}\ud800")
@example("x" * 1_000_000)
def test_any_text_is_taken_or_refused_as_a_template(text: str) -> None:
    node = Scalar(text=text, written=text, place=Place("f", 1), quoted=True)
    with at_most(64):
        try:
            template(node)
        except ValueError:
            return
        check_template(Template(body=text), kind=Kind.CREATED)
    tried(text)


@examples(60)
@given(st.text(max_size=200), st.sampled_from(Format))
def test_kalshis_words_are_never_a_template(text: str, markup: Format) -> None:
    odd = milestone(title="{{ 6 * 7 }}" + text, message="{% for %}" + text)
    told = put(
        event(Kind.CREATED, odd),
        markup=markup,
        template=Template(body="{{ title }}{{ message }}"),
    )

    assert told.template_error is None
    assert "42{%" not in told.body
