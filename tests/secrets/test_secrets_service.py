"""A service full of secrets, in trouble: what it says and keeps, byte by byte."""

import base64
import json
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from canaries import found
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from servers.http_sink import Answer, Reset, closed_port, http_sink
from servers.smtp_sink import smtp_sink

sys.path.append(str(Path(__file__).parent.parent / "cli"))

from commanding import Ended, Running, done, kalshi, started, typed

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
CONFIGURATION = """\
source:
  base_url: "{api}"
  poll_every: 500ms
  rate: 20/s
  api_key: {{id: "${{KEY_ID}}", private_key_file: key.pem}}
heartbeat_url: "http://{http}/{heartbeat}?token={query}"
operator: {{to: [hook, mail]}}
log: {{level: debug}}
destinations:
  hook:
    url: "webhook://{user}:{password}@{http}/{path}?secret=whsec_{new},whsec_{old}\
&+X-Key={header}&-token={query}"
  broken: {{url: "json://{user}:{password}@{http}/{path}/500?+X-Key={header}"}}
  reset: {{url: "json://{user}:{password}@{http}/{path}/reset?:key={query}"}}
  nobody: {{url: "json://{http_closed}/{path}?-token={query}"}}
  file: {{url_file: token}}
  mail: {{url: "mailto://{user}:{password}@{smtp}/{recipient}@example.com?from=a@b.example"}}
  variable: {{url: "${{VARIABLE}}"}}
"""


class Scene:
    """What was said by everything that ran, and where it ran."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.said: dict[str, str] = {}

    def typed(self, *args: str) -> Ended:
        """A command, with the secrets in its environment."""
        ended = typed(*args, cwd=self.folder, **self.environ)
        self.said[" ".join(args)] = ended.out + ended.err
        return ended


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("secrets")
    with (
        kalshi(milestones=20, cwd=folder) as api,
        http_sink() as http,
        smtp_sink() as smtp,
    ):
        user, password = CANARIES["user"], CANARIES["password"]
        plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        smtp.on_sender(f"550 {user} {plain}"[:110])
        path = f"/{CANARIES['path']}"
        http.answer(path, Answer(401, body=CANARIES["password"].encode()))
        http.answer(f"{path}/500", Answer(500, body=CANARIES["header"].encode()))
        http.answer(f"{path}/reset", Reset())
        http.answer(f"/{CANARIES['heartbeat']}", Answer(503))
        closed = closed_port()
        (folder / "key.pem").write_text(PRIVATE_KEY)
        (folder / "token").write_text(
            f"json://{http.netloc}/{CANARIES['secret file']}\n"
        )
        http.answer(f"/{CANARIES['secret file']}", Answer(404))
        (folder / "notifier.yaml").write_text(
            CONFIGURATION.format(
                api=api.base_url,
                http=http.netloc,
                http_closed=f"127.0.0.1:{closed}",
                smtp=smtp.netloc,
                new=CANARIES["webhook secret"],
                old=CANARIES["old webhook secret"],
                **{
                    name: CANARIES[name]
                    for name in ("user", "path", "query", "recipient", "header")
                },
                password=CANARIES["password"].replace("$", "%24"),
                heartbeat=CANARIES["heartbeat"],
            )
        )
        environ = {
            "KEY_ID": CANARIES["key id"],
            "VARIABLE": f"json://127.0.0.1:{closed}/{CANARIES['variable']}",
            "UNUSED": CANARIES["unused variable"],
            "HTTPS_PROXY": f"http://me:{CANARIES['proxy']}@127.0.0.1:{closed}",
            "NO_PROXY": "127.0.0.1",
        }
        scene = Scene(folder, environ)
        with started("run", cwd=folder, **environ) as service:
            _trouble(service, api.ids()[0], api.tell)
            _ask_everything(scene)
            service.process.send_signal(signal.SIGHUP)
            ended = service.end_by(signal.SIGTERM)
        scene.said["run"] = ended.out + ended.err
        assert ended.status == 0
        yield scene


@pytest.fixture(autouse=True)
def _unused() -> None: ...
