"""Rows: mail that some recipients get and others do not."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from e2e.village import until
from servers.smtp_sink import DROP, Mail, SmtpSink, smtp_sink

from faults.ledger import NOTHING, Counts, Row, Stage
from faults.scene import Scene, scene
from faults.verdict import of_changes

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
_OK = "250 OK"

Script = Callable[[SmtpSink], None]


async def _mailed(stage: Stage, *, script: Script, allowed: int) -> Counts:
    """Three milestones are told to three people, while the server has its troubles."""
    with smtp_sink() as server:
        everyone = f"{ANN},{BOB},{EVE}"
        url = f"mailto://{server.netloc}?from=us@example.com&to={everyone}"
        async with scene(stage, hook_url=url) as there:
            _hasten(stage)
            await there.baseline()
            script(server)
            async with there.service.life() as life:
                await life.started()
                for n in range(3):
                    await there.add()
                    await until(lambda n=n: _has(there, n + 1))  # type: ignore[misc] # bound now
                await there.settled(life)
            lost, spurious = of_changes(await there.evidence())
            counts = _of_mails(server.mails, keys=there.keys, allowed=allowed)
            events = there.service.store.events()
        return replace(
            counts,
            events=len(events),
            lost=counts.lost + lost,
            spurious=spurious,
            broken=(*counts.broken, *there.broken),
        )


def _hasten(stage: Stage) -> None:
    """Mail goes at ten a minute by itself."""
    config = stage.folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(said.replace('"}', '", rate: 100/s}'), "utf-8")


def _has(there: Scene, count: int) -> bool:
    rows = there.service.store.ask("SELECT count(*) FROM events")
    return bool(rows and rows[0][0] == count)


def _of_mails(mails: Sequence[Mail], *, keys: Sequence[str], allowed: int) -> Counts:
    copies: Counter[tuple[str, str]] = Counter()
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for mail in mails:
        text = _text(mail)
        for told in ((who, key) for who in mail.recipients for key in keys):
            if told[1] in text:
                copies[told] += 1
                ids[told].add(mail.message["message-id"])
    split = sum(len(found) > 1 for found in ids.values())
    return replace(
        NOTHING,
        faults=3,
        messages=sum(copies.values()),
        lost=sum((who, key) not in copies for who in (ANN, BOB, EVE) for key in keys),
        repeats=sum(count - 1 for count in copies.values()),
        allowed=allowed,
        broken=(f"{split} mails were repeated under another id",) if split else (),
    )


def _text(mail: Mail) -> str:
    body = mail.message.get_body()
    with suppress(KeyError, LookupError):
        return f"{mail.message['subject']} {body.get_content() if body else ''}"
    return mail.content.decode("utf-8", "replace")


def _some_later(server: SmtpSink) -> None:
    server.on_recipient(BOB, "451 4.7.1 Greylisted", "452 4.2.2 Full", _OK)
    server.on_recipient(EVE, _OK, "421 4.3.2 Closing", _OK)


def _dropped(server: SmtpSink) -> None:
    server.on_data(DROP, _OK)


def _refused(server: SmtpSink) -> None:
    server.on_sender("450 4.3.0 Try later", "421 4.3.2 Closing", _OK)


ROWS = (
    Row(
        id="mail-partly",
        matrix="34, 35",
        done="of three recipients one is greylisted twice, another told 421",
        holds="each of them gets each message once",
        run=partial(_mailed, script=_some_later, allowed=0),
        quick=True,
    ),
    Row(
        id="mail-refused",
        matrix="35",
        done="450 and 421 to MAIL FROM",
        holds="each recipient gets each message once",
        run=partial(_mailed, script=_refused, allowed=0),
    ),
    Row(
        id="mail-dropped",
        matrix="35",
        done="the connection drops after the content was taken",
        holds="one message is repeated once",
        run=partial(_mailed, script=_dropped, allowed=1),
    ),
)
