import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_samples import (
    LINK,
    MOVED,
    NEW_YORK,
    NOW,
    UNSET,
    event,
    message,
    milestone,
    put,
    read_html,
)

from notifier.domain.models import Event, Format, Kind, Limits, Rendered
from notifier.domain.outgoing import RenderLevel
from notifier.domain.rules import Route, Template, Templates
from notifier.messages.render import render
from notifier.messages.templates import check_template

HOSTILE = milestone(
    title="<b>*x*</b> [y](z) @here",
    message="{{ 7 * 7 }}",
    details={"league": "<!channel>", "nested": {"deep": "_i_"}},
)


def filled(source: str, of: Event | None = None, *, markup: Format = Format.TEXT) -> Rendered:
    rendered = put(of or event(Kind.CREATED), markup=markup, template=Template(body=source))
    assert rendered.template_error is None
    return rendered


def refused(source: str, *, markup: Format = Format.TEXT, body: int = 4000) -> str:
    rendered = put(
        event(Kind.CREATED),
        markup=markup,
        body=body,
        template=Template(body=source),
    )
    assert "The game is about to begin!" in rendered.body
    assert rendered.template_error is not None
    return rendered.template_error


def test_a_template_sees_what_the_design_promises() -> None:
    rendered = put(
        event(Kind.UPDATED, changes=(MOVED,)),
        test=True,
        template=Template(
            title="{{ kind|upper }}: {{ title }}",
            body="{{ message }}|{{ start }}|{{ ends }}|{{ link }}|{{ test }}|"
            "{{ milestone.details.league }}|"
            "{% for change in changes %}{{ change.field }}: {{ change }}{% endfor %}",
        ),
    )

    assert rendered.template_error is None
    assert rendered.title == "[TEST] UPDATED: Syracuse at Pittsburgh"
    assert rendered.body == (
        f"The game is about to begin!|Sat 26 Sep, 15:30 EDT||{LINK}|True|NCAAFB|"
        "start_date: Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)"
    )


def test_a_start_has_parts_of_its_own() -> None:
    parts = (
        "{{ start.weekday }} {{ start.date }} {{ start.time }} {{ start.zone }} "
        "{{ start.relative }} {{ start.iso }} {{ start.known }}"
    )

    assert filled(parts).body == (
        "Sat 2026-09-26 15:30 EDT in 3 h 20 min 2026-09-26T19:30:00Z True"
    )
    unset = event(Kind.CREATED, milestone(start=UNSET))
    assert filled("{{ start }}|{{ start.known }}", unset).body == "start not set|False"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (Format.TEXT, "<b>*x*</b> [y]\u2060(z) @\u200bhere {{ 7 * 7 }} <!channel> _i_"),
        (
            Format.MARKDOWN,
            ("\\<b\\>∗x∗\\</b\\> \\[y\\]\u2060(z) @\u200bhere {{ 7 ∗ 7 }} \\<!channel\\> ˍiˍ"),
        ),
        (
            Format.HTML,
            ("&lt;b&gt;*x*&lt;/b&gt; [y]\u2060(z) @\u200bhere {{ 7 * 7 }} &lt;!channel&gt; _i_"),
        ),
    ],
)
def test_values_are_escaped_for_the_destination(form: Format, said: str) -> None:
    source = (
        "{{ title }} {{ message }} {{ milestone.details.league }} "
        "{{ milestone['details']['nested']['deep'] }}"
    )

    assert filled(source, event(Kind.CREATED, HOSTILE), markup=form).body == said


def test_a_value_joined_with_the_link_is_escaped() -> None:
    hostile = event(Kind.CREATED, HOSTILE)

    body = filled("{{ [link, title]|join(' ') }}", hostile, markup=Format.MARKDOWN).body

    assert body.endswith("\\<b\\>∗x∗\\</b\\> \\[y\\]\u2060(z) @\u200bhere")


def test_what_the_user_writes_stays_markup() -> None:
    assert filled("<i>{{ kind }}</i>", markup=Format.HTML).body == "<i>created</i>"
    macro = "{% macro b(x) %}**{{ x }}**{% endmacro %}{{ b(title) }}"
    hostile = event(Kind.CREATED, milestone(title="a*b"))
    assert filled(macro, hostile, markup=Format.MARKDOWN).body == "**a∗b**"


def test_a_title_template_gives_one_line_which_opens_the_body_without_titles() -> None:
    created = event(Kind.CREATED, HOSTILE)
    title = put(created, markup=Format.HTML, template=Template(title="{{ kind }}\n\n{{ title }}"))
    without = put(
        created,
        markup=Format.HTML,
        title=0,
        template=Template(title="{{ title }}", body="<i>{{ kind }}</i>"),
    )

    assert title.title == "created <b>*x*</b> [y]\u2060(z) @\u200bhere"
    assert title.body.startswith("<p>Starts <b>")
    assert without.title == ""
    assert without.body == (
        "<p><b>&lt;b&gt;*x*&lt;/b&gt; [y]\u2060(z) @\u200bhere</b></p><i>created</i>"
    )


def test_a_kinds_own_template_goes_before_the_one_for_all() -> None:
    route = Route(
        name="games",
        to=("ops",),
        template=Templates(body="any", started=Template(body="go")),
    )
    bodies = [
        render(
            message(),
            [event(kind)],
            routes={"games": route},
            limits=Limits(format=Format.TEXT, title=100, body=100),
            zone=NEW_YORK,
            now=NOW,
        ).body
        for kind in (Kind.STARTED, Kind.ENDED)
    ]

    assert bodies == ["go", "any"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ titel }}", "body: line 1: 'titel' is undefined"),
        ("a\n{{ milestone.details.nope }}", "line 2: "),
        ("{% if %}", "body: line 1: Expected an expression"),
        ("{{ title|safe }}", "No filter named 'safe'"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% for i in range(20000) %}{% endfor %}", "1,000 numbers"),
        (
            "{% for i in range(999) %}{% for j in range(99) %}{{ i }}{% endfor %}{% endfor %}",
            "prints more than 65,536 characters",
        ),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("  {# nothing #} ", "body: prints nothing"),
    ],
)
def test_a_failing_template_gives_way_and_says_why(source: str, reason: str) -> None:
    error = refused(source)

    assert error.startswith("route games, created: body: ")
    assert reason in error
    assert len(error) < 300


def test_a_body_that_is_too_long_gives_way_unless_it_is_plain_text() -> None:
    long = "{{ title }} " * 40

    assert refused(long, markup=Format.HTML, body=500) == (
        "route games, created: body: gives 919 characters, the service takes 500"
    )
    assert filled(long).body.startswith("Syracuse")
    cut = put(event(Kind.CREATED), template=Template(body=long), body=300)
    assert cut.body.endswith("Pittsburgh…")
    assert len(cut.body) <= 300


@pytest.mark.parametrize(
    ("title", "reason"),
    [("{{ x }}", "line 1: 'x' is undefined"), ("{# hm #}", "prints nothing")],
)
def test_a_bad_title_gives_way_with_its_body(title: str, reason: str) -> None:
    rendered = put(event(Kind.CREATED), template=Template(title=title, body="mine"))

    assert rendered.title == "New: Syracuse at Pittsburgh"
    assert rendered.body != "mine"
    assert rendered.template_error == f"route games, created: title: {reason}"


@pytest.mark.parametrize("level", [RenderLevel.PLAIN, RenderLevel.COUNTS, RenderLevel.ALONE])
def test_a_refused_message_and_a_digest_do_without_the_template(level: RenderLevel) -> None:
    broken = Template(body="{{ broken")
    digest = put(event(Kind.CREATED), event(Kind.ENDED), template=broken)

    assert digest.template_error is None
    assert "mine" not in put(event(Kind.CREATED), level=level, template=Template(body="mine")).body


@given(text=st.text(max_size=300), form=st.sampled_from(Format))
def test_no_value_breaks_out_of_a_users_markup(text: str, form: Format) -> None:
    odd = milestone(title=text, message=text, details={"league": text})
    source = "{{ title }}{{ message }}{{ milestone.details.league }}."

    rendered = put(event(Kind.CREATED, odd), markup=form, template=Template(body=source))

    assert "\n" not in rendered.body
    if form is Format.HTML:
        assert read_html(rendered.body).seen == set()


@pytest.mark.parametrize(
    "source",
    [
        "{{ title }} {{ start.relative }} {{ ends }}",
        "{{ milestone.details.league }} {{ milestone.details.tour }}",
        "{{ milestone.details.season.week + 1 }}",
        "{% for change in changes %}{{ change }}, {% endfor %}{{ title }}",
        "{% if kind == 'started' %}Go!{% else %}{{ title }}{% endif %}",
        "{% set x = namespace(n=1) %}{{ x.n }}",
        "{{ changes[0].after }}",
        "{{ ends.time }}",
    ],
)
def test_good_templates_pass_the_check(source: str) -> None:
    assert check_template(Template(title="{{ title }}", body=source)) is None


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (Template(title="{{ titel }}"), "title: titel is unknown; did you mean title?"),
        (
            Template(body="ok\n{% if x %}"),
            "body: line 2: Unexpected end of template.",
        ),
        (
            Template(body="{% if false %}{{ qwxz }}{% endif %}x"),
            "body: qwxz is unknown",
        ),
        (Template(body="{{ title|safe }}"), "body: line 1: No filter named 'safe'."),
        (Template(body="{{ start.hour }}"), "body: line 1: "),
        (Template(body="{{ ''.__class__ }}"), "body: line 1: access to attribute"),
        (Template(body="{% if kind == 'x' %}a{% endif %}"), "body: prints nothing"),
    ],
)
def test_the_check_says_what_is_wrong_and_where(template: Template, problem: str) -> None:
    found = check_template(template)

    assert found is not None
    assert found.startswith(problem)


def test_the_check_of_a_kinds_template_tries_that_kind() -> None:
    template = Template(body="{{ changes[0].after }}")

    assert check_template(template, kind=Kind.UPDATED) is None
    assert check_template(template, kind=Kind.STARTED) is not None
