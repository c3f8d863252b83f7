"""Hostile texts in messages, judged by the bytes that arrived."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.message import EmailMessage
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from message_samples import changed, event, milestone, put
from servers.http_sink import Answer, http_sink
from servers.smtp_sink import smtp_sink

from notifier.clock import SystemClock
from notifier.domain.models import Event, Format, Kind, Sent
from notifier.domain.rules import Destination, Template
from notifier.senders.sender import open_sender

pytestmark = pytest.mark.anyio

EVIL = "https://evil.example/x"
TEXTS = {
    "slack mentions": "<!channel> <!here|here> <@U012AB3CD> <#C012AB3CD> &lt;!channel&gt;",
    "discord mentions": "@everyone @here <@123456789012345678> <@&12345> <#1234567>",
    "telegram mentions": "@somebody tg://user?id=42 /stop@bot",
    "links": f"[all is well]({EVIL}) <{EVIL}|well> <a href='{EVIL}'>well</a> "
    f"![x]({EVIL}) [x]: {EVIL}",
    "html": f"<script>alert(1)</script><img src={EVIL} onerror=x></b></p><!-- <style>",
    "markdown": "# big\n\n* _a_ **b** ~~c~~ `d`\n> quoted\n```\ncode\n```\n---\n1. one",
    "headers": "Bears\r\nBcc: eve@evil.example\r\nX-Evil: yes\r\n\r\nx\n.\r\nQUIT\r\n",
    "one header": "Bears\nX-Evil: yes",
    "bidi": "Bears \u202egp.exe\u202c \u2066x\u2069 \u200f\u061c\u200e",
    "zero width": "Be\u200bar\u200ds\ufeff \u2060\u2063\U000e0041\u00ad\u180e",
    "terminal": "\x1b[2J\x1b]0;pwned\x07\x1b]8;;http://e\x1b\\x\x9b31m\x08\x00\x7f\r",
    "template": "{{ 7 * 7 }} {% for x in y %} ${7*7} {{ milestone.doc }} %s {0} #{1}",
    "surrogates": "Bears \ud83d\ude00 \ud800 \ufffe",
    "a megabyte": "wide <b>*@everyone*</b> \u202e" * 50_000,
    "a megabyte in one word": "x" * (1 << 20),
    "many combining marks": "a" + "\u0301" * 20_000,
}
#: What nobody sees, but for what we put there ourselves.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200c-\u200f\u202a-\u202e"
    "\u2061-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_TAGS = frozenset(
    """
    html head body title meta style p br b strong i em a ul ol li div span h1 h2 h3 h4
    pre code blockquote hr table tr td
    """.split()  # noqa: SIM905 - a list of words reads as words
)


@dataclass(frozen=True)
class Arrived:
    """What a far end received of one message."""

    #: Every text in it, decoded as its reader decodes it.
    texts: list[str]
    #: Names of headers, in lower case.
    headers: list[str]
    mail: EmailMessage | None = None
    requests: int = 1
    raw: dict[str, object] = field(default_factory=dict)


def _told(body: str) -> object:
    """JSON, or the plain text that long messages are to some."""
    return json.loads(body) if body.startswith(("{", "[")) else body


def _leaves(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from _leaves(one)
        case list():
            for one in value:
                yield from _leaves(one)
        case _:
            pass


URLS = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "slack in blocks": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?blocks=yes",
    "discord": "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "ntfy": "ntfy://{http}/topic",
    "webhook": "webhook://{http}/in",
    "text": "json://{http}/in",
    "markdown": "json://{http}/in?format=markdown",
    "html": "json://{http}/in?format=html",
    "mail": "mailto://{smtp}?from=us@example.com&to=ann@example.com",
    "plain mail": "mailto://{smtp}?from=us@example.com&to=ann@example.com&format=text",
}


async def arrived(
    service: str, happened: Event, patch: pytest.MonkeyPatch, template: Template | None
) -> Arrived:
    """One message, sent as the service is sent to, and what came of it."""
    with ExitStack() as stack:
        http, smtp = stack.enter_context(http_sink()), stack.enter_context(smtp_sink())
        root = http.url("").rstrip("/")
        patch.setattr(NotifySlack, "webhook_url", root)
        patch.setattr(NotifyDiscord, "notify_url", root)
        patch.setattr(NotifyTelegram, "notify_url", f"{root}/bot")
        http.answer("/bot123456789:abcdefg_hijklmnop/sendMessage", Answer(body=b'{"ok": true}'))
        url = URLS[service].format(http=http.netloc, smtp=smtp.netloc)
        sender = await open_sender(
            [Destination(name="ops", url=url, zone=ZoneInfo("UTC"))],
            output=io.StringIO(),
            clock=SystemClock(),
        )
        limits = sender.limits("ops")
        message = put(
            happened,
            markup=limits.format,
            title=limits.title,
            body=limits.body,
            template=template,
        )
        try:
            assert isinstance(await sender.send("ops", message), Sent)
        finally:
            await sender.aclose()
        if smtp.mails:
            (mail,) = smtp.mails
            parts = [part for part in mail.message.walk() if not part.is_multipart()]
            subject = str(mail.message["subject"])
            assert len(subject.splitlines()) == 1
            texts = [subject, *(part.get_content() for part in parts)]
            assert list(mail.recipients) == ["ann@example.com"]
            names = [name.lower() for name in mail.message]
            return Arrived(texts, names, mail.message, len(smtp.mails))
        (received,) = http.requests
        told = _told(received.body.decode())
        return Arrived(
            [*_leaves(told), *received.headers.values()],
            [name.lower() for name in received.headers],
            raw=told if isinstance(told, dict) else {},
        )


def happened(text: str) -> list[Event]:
    """The text wherever Kalshi's texts can stand."""
    of = milestone(title=text[:500_000], message=text, category=text[:99], sort=text[:99])
    safe = text.encode("utf-8", "ignore").decode()
    change = changed("title", safe, "Bears")
    odd = changed("details.venue", "Bears", safe)
    return [event(Kind.CREATED, of), event(Kind.UPDATED, of, changes=(change, odd))]


class Links(HTMLParser):
    """The tags of a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.leads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.leads += [value or "" for name, value in attrs if name in {"href", "src"}]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data[:80])


def judge_html(page: str) -> None:
    links = Links()
    links.feed(page)
    links.close()
    assert links.tags <= _TAGS
    assert all(lead.startswith("https://kalshi.com/") for lead in links.leads)


def judge_slack(text: str) -> None:
    """Slack obeys what stands in angle brackets that are not escaped."""
    for found in re.findall(r"<([^<>]*)>", text):
        assert found.startswith("https://kalshi.com/"), found


def judge_discord(text: str) -> None:
    assert not re.search(r"@(everyone|here)\b", text)
    assert not re.search(r"(?<!\\)<[@#][!&]?\d+(?<!\\)>", text)
    assert not re.search(r"(?<!\\)\]\(https?://evil", text)


def judge_telegram(told: dict[str, object]) -> None:
    text = str(told["text"])
    assert not re.search(r"@[A-Za-z]", text)
    if told["parse_mode"] == "HTML":
        judge_html(text)
    else:
        judge_discord(text)


def judge(service: str, what: Arrived) -> None:
    assert what.requests == 1
    assert "x-evil" not in what.headers
    assert "bcc" not in what.headers
    assert [text for text in what.texts if _UNSEEN.search(text.replace("\r\n", "\n"))] == []
    for text in what.texts:
        if service.startswith("slack"):
            judge_slack(text)
        elif service == "discord":
            judge_discord(text)
    if service == "markdown":
        text = str(what.raw["message"])
        assert not re.search(r"(?<!\\)\]\(https?://evil", text)
        assert not re.search(r"(?<!\\)<(?!https://kalshi)", text)
    if service == "telegram":
        judge_telegram(what.raw)
    if service == "html":
        judge_html(str(what.raw["message"]))
    if what.mail is not None:
        for part in what.mail.walk():
            if part.get_content_type() == "text/html":
                judge_html(part.get_content())


TEMPLATE = Template(title="{{ kind }}: {{ title }}", body="{{ milestone.title }}\n{{ message }}")


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["built-in", "template"])
@pytest.mark.parametrize("service", [one for one in URLS if one != "webhook"])
@pytest.mark.parametrize("name", TEXTS)
async def test_a_hostile_text_arrives_as_words(
    name: str, service: str, template: Template | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in happened(TEXTS[name]):
        what = await arrived(service, one, monkeypatch, template)

        judge(service, what)
        # 7 * 7 in a foreign text is not computed.
        assert template is None or name != "template" or "49" not in " ".join(_leaves(what.raw))


# Its reader of JSON takes no lone surrogates: no milestone has them.
@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"surrogates"}))
async def test_a_receiver_of_webhooks_gets_json_and_nothing_beside_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in happened(TEXTS[name]):
        what = await arrived("webhook", one, monkeypatch, None)

        assert "x-evil" not in what.headers
        assert what.raw["specversion"] == "1.0"


@pytest.mark.parametrize("name", TEXTS)
async def test_a_terminal_obeys_nothing(name: str) -> None:
    output = io.StringIO()
    sender = await open_sender(
        [Destination(name="ops", url="terminal://", zone=ZoneInfo("UTC"))],
        output=output,
        clock=SystemClock(),
    )
    limits = sender.limits("ops")
    for one in happened(TEXTS[name]):
        await sender.send("ops", put(one, title=limits.title, body=limits.body))
    await sender.aclose()

    assert not _UNSEEN.search(output.getvalue())
    assert len(output.getvalue()) < 250_000
    assert Format.TEXT is limits.format
