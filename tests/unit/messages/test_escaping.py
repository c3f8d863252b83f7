import apprise
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from message_samples import read_html

from notifier.domain.models import Format
from notifier.messages.escaping import (
    Anchor,
    Bold,
    TextRow,
    clean,
    escape,
    escape_within,
    format_line,
    lay_out,
    shorten,
)


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("over\u202eevil\u2066!", "overevil!"),
        ("ze\u200bro\ufeff wi\u200ddth", "zero width"),
        ("two\r\nlines\u2028and\x85more\t.", "two lines and more ."),
        ("half \ud800 a pair", "half a pair"),
        ("  much    space ", " much space "),
    ],
)
def test_text_loses_what_nobody_can_see_and_stays_on_one_line(hostile: str, harmless: str) -> None:
    assert escape(hostile, Format.TEXT) == harmless


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("who", ["@everyone", "@here", "@channel", "@elonmusk"])
def test_foreign_text_calls_nobody(form: Format, who: str) -> None:
    assert who not in escape(f"hey {who}!", form)
    assert escape("Ohio @ Texas", form) == "Ohio @ Texas"


def test_html_is_escaped_with_its_quotes() -> None:
    assert escape("""<b a="1" b='2'>&""", Format.HTML) == (
        "&lt;b a=&quot;1&quot; b=&#x27;2&#x27;&gt;&amp;"
    )


@pytest.mark.parametrize(
    ("foreign", "escaped_text"),
    [
        ("<!channel>", "\\<!channel\\>"),
        ("*b* _i_ ~s~ `c`", "∗b∗ ˍiˍ ∼s∼ ˋcˋ"),
        ("in_progress", "in_progress"),
        ("[l](http://x)", "\\[l\\]\u2060(http://x)"),
        ("a\\*b", "a\\\\∗b"),
        ("AT&T &lt;", "AT&T &\u2060lt;"),
        ("http://a.b/c_d?e=1", "http://a.b/c_d?e=1"),
        ("# h", "\u2060# h"),
        ("- i", "\u2060- i"),
        ("1. i", "\u20601. i"),
        ("76ers at Knicks", "76ers at Knicks"),
        ("---", "\u2060---"),
    ],
)
def test_markdown_is_escaped_so_that_slack_shows_no_backslash(
    foreign: str, escaped_text: str
) -> None:
    assert escape(foreign, Format.MARKDOWN) == escaped_text


SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"


def test_slack_gets_markup_of_ours_and_none_of_theirs() -> None:
    slack = apprise.Apprise.instantiate(SLACK)
    ours = (Bold("Sat"), " ", Anchor("a [b] <!here>", "https://kalshi.com/x?a=1&b=2"))
    theirs = "<!channel> <@U123> *b* AT&T <http://x|y> &lt;"

    body = format_line((*ours, " ", theirs), Format.MARKDOWN)
    assert slack is not None
    shown = slack.dialect_convert(body, body_format=apprise.NotifyFormat.MARKDOWN)

    assert shown == (
        "*Sat* <https://kalshi.com/x?a=1&amp;b=2|a [b] &lt;!here&gt;> "
        "&lt;!channel&gt; &lt;@\u200bU123&gt; ∗b∗ AT&amp;T "
        "&lt;http://x|y&gt; &amp;\u2060lt;"
    )


@given(st.text(), st.sampled_from(Format))
def test_escaping_leaves_nothing_that_could_break_out(text: str, form: Format) -> None:
    escaped = escape(text, form)

    assert "\n" not in escaped
    assert "\r" not in escaped
    escaped.encode()
    if form is Format.HTML:
        assert not set("<>\"'") & set(escaped)
    if form is Format.MARKDOWN:
        bare = escaped.replace("\\\\", "").replace("\\<", "").replace("\\>", "")
        bare = bare.replace("\\[", "").replace("\\]", "")
        assert not set("<>[]*~`\\") & set(bare)


@given(st.text())
def test_cleaning_twice_finds_nothing_new_to_remove(text: str) -> None:
    once = clean(text, 50)

    assert clean(once, 50) == once
    assert len(once) <= 50


@pytest.mark.parametrize(
    ("limit", "cut"),
    [
        (25, "Syracuse at Pittsburgh"),
        (20, "Syracuse at…"),
        (12, "Syracuse at…"),
        (11, "Syracuse…"),
        (5, "Syra…"),
        (1, "…"),
        (0, ""),
    ],
)
def test_text_is_cut_between_words_with_an_ellipsis(limit: int, cut: str) -> None:
    assert shorten("Syracuse at Pittsburgh", limit) == cut


def test_a_long_word_is_cut_rather_than_lost() -> None:
    assert shorten("A pneumonoultramicroscopic one", 12) == "A pneumonou…"


@given(st.text(), st.integers(0, 60))
def test_what_is_shortened_fits(text: str, limit: int) -> None:
    assert len(shorten(text, limit)) <= limit


@example("fourteen chars\x1b", 14, Format.TEXT)
@given(st.text() | st.text('<&"_[]*a ', max_size=200), st.integers(-5, 80), st.sampled_from(Format))
def test_text_escaped_within_a_limit_fits(text: str, limit: int, form: Format) -> None:
    cut = escape_within(text, form, limit)

    assert len(cut) <= max(limit, 0)
    if len(escape(text, form)) <= limit:
        assert cut == escape(text, form)
    if form is Format.HTML:
        assert read_html(cut).seen == set()


ROWS = (TextRow("Title"), TextRow("one", bullet=True), TextRow("two", bullet=True), TextRow("end"))


def test_rows_become_paragraphs_and_lists() -> None:
    assert lay_out(ROWS, Format.TEXT) == "Title\n- one\n- two\n\nend"
    assert lay_out(ROWS[2:], Format.MARKDOWN) == "- two\n\nend"
    assert lay_out((TextRow("a"), TextRow("b")), Format.MARKDOWN) == "a  \nb"
    assert lay_out(ROWS, Format.HTML) == ("<p>Title</p><ul><li>one</li><li>two</li></ul><p>end</p>")
    assert lay_out((TextRow("a"), TextRow("b", heading=True)), Format.HTML) == ("<p>a</p><p>b</p>")
