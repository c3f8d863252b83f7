"""Rows: texts that attack, addresses that may not be reached, secrets in the way."""

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import anyio
from e2e.village import Life, until
from leaks import found
from servers.http_sink import Answer, CutShort, HttpSink, Reset, http_sink
from servers.smtp_sink import Mail, SmtpSink, smtp_sink

from faults.ledger import Counts, Row, Stage
from faults.scene import HOOK, OWED, Scene, command, scene
from faults.services import FORBIDDEN, NAME
from faults.strace import watched
from faults.verdict import Owed, verdict


def _add_destinations(folder: Path, *lines: str) -> None:
    config = folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(said + "".join(f"  {line}\n" for line in lines), "utf-8")


# --- texts --------------------------------------------------------------------

_EVIL = "https://evil.example/x"
_TEXTS = (
    "<!channel> @everyone <@U012AB3CD> [well](https://evil.example/x)",
    f"<script>alert(1)</script><img src={_EVIL} onerror=x></b></p><!-- <style>",
    "Bears\r\nBcc: eve@evil.example\r\nX-Evil: yes\r\n\r\nx\r\n.\r\nQUIT\r\n",
    "Bears \u202egp.exe\u202c \u2066x\u2069 \u200b\u00ad\U000e0041",
    "\x1b[2J\x1b]0;pwned\x07 \x9b31m\x08\x00\x7f",
    "{{ 7 * 7 }} {% for x in y %} ${7*7} {{ milestone.doc }} %s {0}",
    "wide <b>*@everyone*</b> \u202e" * 40_000,
    "x" * (1 << 20),
)
#: What no mail may hold as it is.
_ACTIVE = ("<script", "<img", "<style", "onerror=x>", "\u202e", "\x1b", "\x00")
_LARGEST_MAIL = 256 * 1024


async def _texts(stage: Stage) -> Counts:
    """Each in the title, the message and the details of a milestone of its own."""
    with smtp_sink() as server:
        async with scene(stage) as there:
            address = f"mailto://{server.netloc}?from=us@example.com&to=ann@example.com"
            _add_destinations(
                stage.folder,
                f'mail: {{url: "{address}", rate: 100/s, digest: off}}',
                f'page: {{url: "{address}", format: html, rate: 100/s, digest: off}}',
            )
            await there.baseline()
            async with there.service.life() as life:
                await life.started()
                for text in _TEXTS:
                    await there.add(title=text, notification_message=text, details={"league": text})
                    there.faults += 1
                await there.settled(life)
            _check_mails(there, server)
            return await there.counts()


def _check_mails(there: Scene, server: SmtpSink) -> None:
    count = len(server.mails)
    there.check(count == 2 * len(_TEXTS), f"{count} mails came")
    for mail in server.mails:
        wrong = [*_wrong_outside(mail), *_wrong_inside(mail)]
        there.broken += [f"a mail holds {what}" for what in wrong]


def _wrong_outside(mail: Mail) -> list[str]:
    names = {name.lower() for name in mail.message}
    wrong: list[str] = [name for name in ("bcc", "x-evil") if name in names]
    if list(mail.recipients) != ["ann@example.com"]:
        wrong.append(f"recipients {mail.recipients}")
    if len(mail.content) > _LARGEST_MAIL:
        wrong.append(f"{len(mail.content)} bytes")
    return wrong


def _wrong_inside(mail: Mail) -> list[str]:
    parts = [part for part in mail.message.walk() if not part.is_multipart()]
    texts = [str(mail.message["subject"])]
    texts += [p.get_content() for p in parts if p.get_content_type() == "text/html"]
    said = "\n".join(texts[1:])
    wrong = [repr(what) for what in _ACTIVE if what in said]
    subject = re.sub("[\u200b\u2060]", "", texts[0])  # ours: they break mentions
    return wrong if subject.isprintable() else [*wrong, repr(subject)]


# --- addresses ----------------------------------------------------------------

_METADATA = "169.254.169.254"
_ALIASES = (
    f"webhook://{_METADATA}/latest",
    f"webhook://[::ffff:{_METADATA}]/latest",
    "webhook://[64:ff9b::a9fe:a9fe]/latest",
    "webhook://[fe80::1]/latest",
    "webhook://2852039166/latest",
    "webhook://0xA9FEA9FE/latest",
    "webhook://0251.0376.0251.0376/latest",
    f"json://{_METADATA}/latest",
    f"mailto://{_METADATA}?from=us@example.com&to=ann@example.com",
)
#: The same, which is known only when it is looked up.
_IN_DISGUISE = f"webhook://{FORBIDDEN}/latest"


async def _addresses(stage: Stage) -> Counts:
    """Destinations that are, resolve to, or redirect to where no message may go."""
    async with scene(stage, program=("faults.services", "rebound")) as there:
        await there.baseline()
        await _are_refused(there)
        config = stage.folder / "notifier.yaml"
        here = config.read_text("utf-8")
        named = here.replace(there.hook.netloc, f"{NAME}:{_port(there)}")
        # First nothing of this machine may be reached, whatever its name is.
        config.write_text(named + "egress: public\n", "utf-8")
        async with there.service.life() as life:
            await life.started()
            log = stage.folder / "names.log"
            async with watched(life.process.pid, _CALLS, log=log):
                await there.add()
                await until(lambda: _is_suspended(there))
            there.check(not there.hook.requests, "it went where it may not")
            _check_calls(there, log, f"htons({_port(there)})")
            await there.stopped(life)
        config.write_text(named, "utf-8")
        there.faults += 1
        await _redirected(there)
        return await _of_hook(there)


_CALLS = "connect,sendto,sendmsg,sendmmsg"


async def _are_refused(there: Scene) -> None:
    """Written as addresses they do not even come into force."""
    config = there.stage.folder / "notifier.yaml"
    good = config.read_text("utf-8")
    ways = (f'way{n}: {{url: "{url}"}}' for n, url in enumerate(_ALIASES))
    _add_destinations(there.stage.folder, *ways)
    status, said = await command(there.stage.folder, "check")
    there.check(status == 78, f"`check` ended with {status}")
    for n, url in enumerate(_ALIASES):
        there.check(f"destinations.way{n}.url: " in said, f"{url} is taken")
    config.write_text(good, "utf-8")
    there.faults += len(_ALIASES)


async def _redirected(there: Scene) -> None:
    """A far end that sends us on is not followed; the other gets everything."""
    with http_sink() as door:
        further = {"Location": f"http://{_METADATA}/x"}
        door.answer("/in", Answer(status=307, headers=further))
        ways = [f"{scheme}://{door.netloc}/in" for scheme in ("webhook", "json")]
        _add_destinations(
            there.stage.folder,
            *(f'door{n}: {{url: "{url}"}}' for n, url in enumerate((*ways, _IN_DISGUISE))),
        )
        async with there.service.life() as life:
            await life.started()
            status, said = await command(there.stage.folder, "resume", "hook")
            there.check(status == 0, said)
            log = there.stage.folder / "doors.log"
            async with watched(life.process.pid, _CALLS, log=log):
                await there.add()
                await until(lambda: len(door.requests) > 1)
                await until(lambda: _is_done(there, 2) and _is_tried(there, "door2"))
                await there.stopped(life)
            _check_calls(there, log, _METADATA)
        there.faults += 3


def _port(there: Scene) -> str:
    return str(there.hook.port)


def _check_calls(there: Scene, log: Path, forbidden: str) -> None:
    calls = log.read_text("utf-8", "replace")
    there.check("connect(" in calls, "nothing was watched")
    there.check(forbidden not in calls, f"it connected to {forbidden}")


def _is_done(there: Scene, count: int) -> bool:
    return there.service.store.ask(
        "SELECT count(*) FROM deliveries WHERE destination = 'hook' AND state = 'delivered'"
    ) == [(count,)]


def _is_tried(there: Scene, destination: str) -> bool:
    ask = there.service.store.ask
    return bool(ask("SELECT 1 FROM attempts WHERE destination = ?", destination))


async def _of_hook(there: Scene) -> Counts:
    evidence = await there.evidence()
    rows = there.service.store.ask(f"{OWED} WHERE destination = 'hook'")
    deliveries = [Owed(*row) for row in rows]
    return verdict(replace(evidence, deliveries=deliveries))


# --- secrets ------------------------------------------------------------------

_CANARIES = {
    name: f"canary{name}4711zq"
    for name in ("path", "user", "password", "query", "header", "beat", "broken")
}
_WHSEC = "whsec_Y2FuYXJ5IG9mIHRoZSBzaWduaW5nIGtleSA0NzEx"


async def _secrets(stage: Stage) -> Counts:
    """Every secret stands nowhere else; then all kinds of things fail."""
    with http_sink() as far:
        async with scene(stage) as there:
            _hide(stage.folder, there, far)
            await there.baseline()
            said = await _suffer(there, far)
            async with there.service.life() as life:
                await life.started()
                # It redirects in the end.
                await until(lambda: _is_suspended(there))
                await command(stage.folder, "resume", "far")
                await there.settled(life)
            counts = await there.counts()
            said += [await _listing(stage.folder, words) for words in _COMMANDS]
            shown = "\n".join(said) + _logs(stage.folder) + _dump(there)
            canaries = {**_CANARIES, "whsec": _WHSEC}
            leaked = found(canaries, shown)
            broken = tuple(f"the secret {name} is shown" for name in leaked)
            seen = found(_CANARIES, "".join(map(_spelt, far.requests)))
            if not {"path", "query", "header"} <= set(seen):
                broken += ("the secrets were not used",)
            return replace(counts, broken=(*counts.broken, *broken))


def _is_suspended(there: Scene) -> bool:
    ask = there.service.store.ask
    return bool(ask("SELECT 1 FROM destinations WHERE suspended_since IS NOT NULL"))


_COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("check",),
    ("events", "--json"),
    ("deliveries", "--json"),
    ("--log-level", "debug", "test"),
    ("--log-level", "debug", "run", "--once"),
)


def _hide(folder: Path, there: Scene, far: HttpSink) -> None:
    c = _CANARIES
    url = (
        f"json://{c['user']}:{c['password']}@{far.netloc}/{c['path']}/"
        f"?%2BX-Key={c['header']}&-token={c['query']}"
    )
    config = folder / "notifier.yaml"
    said = config.read_text("utf-8")
    said = said.replace(HOOK + '"', f'{HOOK}?secret={quote(_WHSEC)}"')
    said += f'  far: {{url: "{url}"}}\nlog: {{level: debug, format: json}}\n'
    said += f"heartbeat_url: http://{far.netloc}/beat/{c['beat']}\n"
    config.write_text(said, "utf-8")
    far.answer(
        f"/{c['path']}/",
        *(Answer(status=500), Reset(), CutShort(), Answer(status=429), Answer()),
        *(Answer(status=302, headers={"Location": f"/{c['query']}"}), Answer()),
    )
    far.answer(f"/beat/{c['beat']}", Answer(status=500))
    there.hook.answer(HOOK, Answer(status=500), Reset(), Answer())


async def _suffer(there: Scene, far: HttpSink) -> list[str]:
    """Far ends, the API and the configuration fail; it is killed; its disk fails."""
    said: list[str] = []
    config = there.stage.folder / "notifier.yaml"
    good = config.read_text("utf-8")
    async with there.service.life() as life:
        await life.started()
        await there.add()
        await until(lambda: len(far.requests) > 2)
        await there.fault({"kind": "reset", "share": 0.5}, times=2)
        await there.fault({"kind": "status", "status": 500}, times=2)
        await there.add()
        bad = f'  broken: {{url: "nosuch://{_CANARIES["broken"]}@x/{_CANARIES["path"]}"}}'
        config.write_text(good.replace("log:", f"{bad}\nlog:"), "utf-8")
        said.append((await command(there.stage.folder, "check"))[1])
        await _reload(life)
        config.write_text(good, "utf-8")
        await there.add()
        await anyio.sleep(2)
        await there.killed(life)
    there.faults += 8
    return said


async def _reload(life: Life) -> None:
    life.process.send_signal(signal.SIGHUP)
    await until(lambda: "config.rejected" in life.said)


async def _listing(folder: Path, words: Sequence[str]) -> str:
    return (await command(folder, *words))[1]


def _logs(folder: Path) -> str:
    return "".join(one.read_text("utf-8") for one in folder.glob("life-*.log"))


def _dump(there: Scene) -> str:
    tables = there.service.store.ask("SELECT name FROM sqlite_schema")
    return "".join(str(there.service.store.ask(f'SELECT * FROM "{name}"')) for (name,) in tables)


def _spelt(request: object) -> str:
    return json.dumps(request, default=lambda one: str(vars(one)))


ROWS = (
    Row(
        id="hostile-texts",
        matrix="27",
        done="mentions, scripts, line breaks for headers, hidden signs, templates and "
        "megabytes in titles, messages and details",
        holds="mail has no header, recipient or markup of theirs and stays small; a "
        "webhook has them as they are",
        run=_texts,
    ),
    Row(
        id="forbidden-addresses",
        matrix="33",
        done="destinations that are a cloud's metadata service, by seven spellings, or "
        "redirect there; with `egress: public` one whose name means this machine",
        holds="it is refused, or no connection is made there; what waits meanwhile "
        "arrives when it may",
        run=_addresses,
    ),
    Row(
        id="secrets",
        matrix="51",
        done="secrets in each place of a URL, at `debug`, while far ends, the API and "
        "the configuration fail; SIGKILL; then all commands",
        holds="none stands in a log, an answer of a command, or the database",
        run=_secrets,
    ),
)
