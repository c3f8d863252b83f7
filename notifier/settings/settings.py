"""What a configuration comes to: frozen, resolved, checked. None: not wanted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from notifier.domain.auth import Network
from notifier.domain.egress_policy import anywhere, public
from notifier.domain.models import Destination, Rate, Route, Watch


class Updates(StrEnum):
    """What makes an `updated`: other content, or a new `last_updated_ts` as well."""

    CONTENT = "content"
    TIMESTAMP = "timestamp"


class Egress(StrEnum):
    """Which addresses are connected to, of destinations and of `heartbeat_url`."""

    ANY = "any"
    PUBLIC = "public"


class Level(StrEnum):
    """The least urgent lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks; `auto`: text on a terminal, else JSON."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key for signed requests."""

    id: str
    #: In PEM: RSA or Ed25519, without a passphrase.
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where milestones are read, how often, and what counts as news."""

    base_url: str
    poll_every: timedelta
    sweep_every: timedelta
    full_read_every: timedelta
    look_back: timedelta
    rate: Rate
    timeout: timedelta
    updates: Updates
    watch: tuple[Watch, ...]
    ignore_tickers: tuple[str, ...]
    announce_existing: bool
    started_grace: timedelta
    ended_grace: timedelta
    started_again_after: timedelta
    #: None: requests are not signed.
    api_key: ApiKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is logged, and how it looks."""

    level: Level
    format: LogFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished things are kept."""

    events: timedelta
    deliveries: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """Where the dashboard listens, and who may come in."""

    host: str = "127.0.0.1"
    port: int = 8080
    #: It was asked for: without it the service does not run.
    is_asked_for: bool = False
    #: How people reach it, without a slash at its end.
    external_url: str | None = None
    #: Names that it answers to, beside its own.
    hosts: tuple[str, ...] = ()
    #: Itself, or its Argon2 hash. None: whoever reaches it is let in.
    password: str | None = field(default=None, repr=False)
    #: They are believed when they say whom they ask for.
    trusted_proxies: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """
    Everything that a person decides.

    At least one watch, one destination and one route; every route's `to`, and
    `operator`, name destinations that are here.
    """

    #: The file it came from, absolute; None: there was none.
    path: Path | None
    source: Source
    #: `sqlite:////absolute/path.db`.
    store: str
    #: For times in messages, unless a destination has a zone of its own.
    zone: ZoneInfo
    destinations: tuple[Destination, ...]
    routes: tuple[Route, ...]
    log: Log
    retention: Retention
    #: Names of destinations that are told what is wrong with the service itself.
    operator: tuple[str, ...] = ()
    #: Asked after each complete read; a secret.
    heartbeat_url: str | None = field(default=None, repr=False)
    egress: Egress = Egress.ANY
    #: None: no dashboard, no feeds, no metrics.
    web: Web | None = None

    @property
    def external_url(self) -> str | None:
        """Where links in messages lead; None: to Kalshi."""
        return None if self.web is None else self.web.external_url

    @property
    def may_reach(self) -> Callable[[str], bool]:
        """Whether an IP address may be connected to, but for Kalshi's API."""
        return public if self.egress is Egress.PUBLIC else anywhere
