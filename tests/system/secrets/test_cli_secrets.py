"""A service full of secrets, in trouble: what it says and keeps, byte by byte."""

import base64
import json
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from commanding import Running, done, kalshi, started, typed
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from leaks import found
from servers.http_sink import Answer, HttpSink, Reset, closed_port, http_sink
from servers.smtp_sink import SmtpSink, smtp_sink

PRIVATE_KEY = (
    Ed25519PrivateKey.from_private_bytes(b"canary of a private key, 32 byte")
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
CANARIES = {
    "webhook secret": base64.b64encode(b"canary of the hook").decode(),
    "old webhook secret": base64.b64encode(b"canary that was used").decode(),
    "header": "canary-in-a-header",
    "path": "canary-in-a-path",
    "query": "canary-in-a-query",
    "user": "canaryuser",
    "password": "canary$password",
    "recipient": "canaryrecipient",
    "secret file": "canaryfile0123456789",
    "variable": "canaryvariable0123",
    "key id": "canary-4711-key-id",
    "private key": PRIVATE_KEY.splitlines()[1],
    "heartbeat": "canary-of-the-heart",
    "proxy": "canaryproxypassword",
    "unused variable": "canary-that-nobody-uses",
}
#: They hold secrets because a person put them there.
GIVEN = {"notifier.yaml", "key.pem", "token"}
LOGIN = f"{CANARIES['user']}:{CANARIES['password'].replace('$', '%24')}"


def configuration(api: str, http: HttpSink, smtp: SmtpSink, closed: int) -> str:
    path, query = CANARIES["path"], CANARIES["query"]
    secrets = f"{CANARIES['webhook secret']},whsec_{CANARIES['old webhook secret']}"
    hook = f"webhook://{LOGIN}@{http.netloc}/{path}?secret=whsec_{secrets}"
    mail = f"mailto://{LOGIN}@{smtp.netloc}/{CANARIES['recipient']}@example.com"
    there = f"json://{LOGIN}@{http.netloc}/{path}"
    return f"""\
source:
  base_url: "{api}"
  poll_every: 500ms
  rate: 20/s
  api_key: {{id: "${{KEY_ID}}", private_key_file: key.pem}}
heartbeat_url: "{http.url(f"/{CANARIES['heartbeat']}")}?token={query}"
operator: {{to: [hook, mail]}}
log: {{level: debug}}
destinations:
  hook: {{url: "{hook}&+X-Key={CANARIES["header"]}&-token={query}"}}
  broken: {{url: "{there}/500?+X-Key={CANARIES["header"]}"}}
  reset: {{url: "{there}/reset?:key={query}"}}
  nobody: {{url: "json://127.0.0.1:{closed}/{path}?-token={query}"}}
  file: {{url_file: token}}
  mail: {{url: "{mail}?from=a@b.example"}}
  variable: {{url: "${{VARIABLE}}"}}
"""


def environment(closed: int) -> dict[str, str]:
    return {
        "KEY_ID": CANARIES["key id"],
        "VARIABLE": f"json://127.0.0.1:{closed}/{CANARIES['variable']}",
        "UNUSED": CANARIES["unused variable"],
        "HTTPS_PROXY": f"http://me:{CANARIES['proxy']}@127.0.0.1:{closed}",
        "NO_PROXY": "127.0.0.1",
    }


def script(http: HttpSink, smtp: SmtpSink) -> None:
    """Everything fails, and quotes what it was sent."""
    path = f"/{CANARIES['path']}"
    login = f"\0{CANARIES['user']}\0{CANARIES['password']}"
    plain = base64.b64encode(login.encode()).decode()
    smtp.on_sender(f"550 {CANARIES['user']} {plain}")
    http.answer(path, Answer(401, body=CANARIES["password"].encode()))
    http.answer(f"{path}/500", Answer(500, body=CANARIES["header"].encode()))
    http.answer(f"{path}/reset", Reset())
    http.answer(f"/{CANARIES['heartbeat']}", Answer(503))
    http.answer(f"/{CANARIES['secret file']}", Answer(404))


def asked(folder: Path) -> dict[str, str]:
    """What every command says beside the running service."""
    environ = environment(1)
    said = {}
    rows = done("deliveries", "--json", cwd=folder).rows
    assert {row["destination"] for row in rows} >= {"hook", "broken", "mail", "file"}
    for line in (
        "check",
        "status",
        "events",
        "events --json",
        "deliveries",
        "deliveries --json",
        f"explain {rows[0]['event_id']}",
        f"explain {rows[0]['event_id']} --json",
        "test",
        "--log-level debug test mail variable",
        "resume hook",
        "redrive",
        "backup copy.db",
        "healthcheck",
    ):
        ended = typed(*line.split(), cwd=folder, **environ)
        said[line] = ended.out + ended.err
    for question in ({"ask": "health"}, {"ask": "nothing"}, {"ask": "resume"}):
        said[f"socket {question}"] = _socket_says(folder, json.dumps(question))
    said["socket garbage"] = _socket_says(folder, "{")
    return said


def _socket_says(folder: Path, question: str) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(folder / "notifier.db.sock"))
        link.sendall(question.encode() + b"\n")
        with link.makefile() as answers:
            return answers.readline()


def misconfigured(folder: Path) -> dict[str, str]:
    """What is said of configurations with a mistake next to each secret."""
    good = (folder / "notifier.yaml").read_text()
    said = {}
    for number, (right, wrong) in enumerate(
        [
            ("webhook://", "webhok://"),
            ("?secret=whsec_", "?secret="),
            ("&+X-Key=", "&+X Key="),
            ("&-token=", "&"),
            ("&+X-Key=", "&+"),
            ("destinations:\n", f"destinations:\n  'json://{CANARIES['query']}': x\n"),
            ("json://", "jsn://"),
            ("mailto://", "mailto:/"),
            ("key.pem", "token"),
            ("private_key_file: key.pem", "private_key: token"),
            ("heartbeat_url: ", "heartbeat_url: x"),
            ("url_file: token", "url_file: key.pem"),
            ("${VARIABLE}", "${VARIABLE}${NOT_SET}"),
            ("hook: {url: ", "hook: {url "),
            ("hook: {url: ", "hook: {uri: "),
            ("operator: {to: [hook", f"operator: {{to: [{CANARIES['variable'][:3]}"),
        ]
    ):
        assert right in good
        place = folder / f"wrong{number}"
        place.mkdir()
        (place / "key.pem").write_text(PRIVATE_KEY)
        (place / "token").write_text((folder / "token").read_text())
        (place / "notifier.yaml").write_text(good.replace(right, wrong))
        for command in ("check", "test"):
            ended = typed(command, cwd=place, **environment(1))
            assert ended.status != 0
            said[f"{command} with {wrong}"] = ended.out + ended.err
    return said


def kept(folder: Path) -> dict[str, str]:
    """Every byte that was written, and every value of the database."""
    files = {
        str(path.relative_to(folder)): path.read_bytes().decode("latin-1")
        for path in folder.rglob("*")
        if path.is_file() and path.name not in GIVEN
    }
    with closing(sqlite3.connect(folder / "notifier.db")) as database:
        files["a dump"] = "\n".join(database.iterdump())
    assert {"notifier.db", "copy.db", "a dump"} <= files.keys()
    return files


def heard(service: Running, text: str) -> str:
    """All that it logs until a line has that text."""
    lines: list[str] = []
    assert service.process.stderr is not None
    for line in service.process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"never said {text!r}, but {''.join(lines)!r}")


@pytest.mark.timeout(180)  # a whole service
def test_no_secret_is_said_or_kept_whatever_goes_wrong(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    with kalshi(milestones=20, cwd=tmp_path) as api, http_sink() as http:
        with smtp_sink(logins={CANARIES["user"]: CANARIES["password"]}) as smtp:
            script(http, smtp)
            environ = environment(closed_port())
            text = configuration(api.base_url, http, smtp, closed_port())
            (tmp_path / "notifier.yaml").write_text(text)
            (tmp_path / "key.pem").write_text(PRIVATE_KEY)
            (tmp_path / "token").write_text(f"json://{http.netloc}/{CANARIES['secret file']}\n")
            for number in range(2):
                api.tell("update", id=api.ids()[0], fields={"title": f"No {number}"})
                ended = done("run", "--once", cwd=tmp_path, **environ)
                said[f"round {number}"] = ended.out + ended.err
            with started("run", cwd=tmp_path, **environ) as service:
                said["start"] = heard(service, "app.started")
                said |= asked(tmp_path)
                (tmp_path / "notifier.yaml").write_text(text + f"x: [{text}")
                service.process.send_signal(signal.SIGHUP)
                said["reload"] = heard(service, "config.rejected")
                (tmp_path / "notifier.yaml").write_text(text)
                service.process.send_signal(signal.SIGTERM)
                ended = service.end()
                said["end"] = ended.out + ended.err
        said |= misconfigured(tmp_path)

    assert "message.failed" in said["round 1"]
    leaks = {what: found(CANARIES, text) for what, text in said.items()}
    assert {what: places for what, places in leaks.items() if places} == {}
    leaks = {what: found(CANARIES, text) for what, text in kept(tmp_path).items()}
    assert {what: places for what, places in leaks.items() if places} == {}
