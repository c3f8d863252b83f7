"""The web of one running service: what `notifier.app` starts beside the loops."""

import gc
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import structlog
from starlette.routing import BaseRoute

from notifier.domain.auth import Network
from notifier.storage.database import Database
from notifier.web.app import build
from notifier.web.auth import Locks
from notifier.web.listen import Front
from notifier.web.ports import Ports
from notifier.web.server import serve
from notifier.web.tokens import Offload, Password, Tokens

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may come in, and what that takes."""

    #: Itself, or its Argon2 hash. None: whoever reaches it is let in.
    password: str | None
    db: Database
    #: A fresh secret.
    fresh: Callable[[], str]
    #: Of this process.
    secret: bytes
    #: Runs what would hold everybody else up.
    offload: Offload
    sleep: Callable[[float], Awaitable[None]]
    #: Names that it answers to, beside its own.
    hosts: Collection[str] = ()
    #: They are believed when they say whom they ask for.
    proxies: Sequence[Network] = ()


async def attend(front: Front, ports: Ports, access: Access, *, more: list[BaseRoute]) -> None:
    """Answer where it listens, until cancelled; nothing to do where it does not."""
    place, listening = front.place, front.share()
    if place is None or listening is None:
        return
    password = access.password
    known = None if password is None else Password(password, offload=access.offload)
    tokens = Tokens(
        db=access.db,
        now=ports.now,
        fresh=access.fresh,
        key=None if known is None else known.key,
    )
    scheme = urlsplit(ports.external_url or "").scheme
    locks = Locks(
        tokens=tokens,
        password=known,
        secret=access.secret,
        port=place.port,
        is_https=scheme == "https",
        is_behind=ports.external_url is not None,
        proxies=access.proxies,
        sleep=access.sleep,
    )
    app = build(ports, locks, host=place.host, hosts=access.hosts, more=more)
    # What was loaded for it stays: looking through it again would delay starts.
    gc.freeze()
    log.info("web.listening", address=place.url, login=password is not None)
    if password is None and ports.external_url is not None:
        log.warning("web.unguarded", external_url=ports.external_url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tokens.keep, access.sleep)
        await serve(app, listening)
