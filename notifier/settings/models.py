"""
THE configuration: the keys of notifier.yaml, their types, defaults and descriptions.

Routes, destinations, watches and their policies are values of the domain and stand in
`domain.models`. A worker takes the section that it needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from notifier.domain.egress_policy import anywhere, public
from notifier.domain.parsing import (
    Duration,
    DurationOrZero,
    Flag,
    KeysOrOff,
    OneOrMany,
    Parser,
    Patterns,
    Scalar,
    Zone,
    as_list,
    one_of,
    parse_destination_name,
    parse_zone,
    text_schema,
)
from notifier.domain.poll_schedule import ReadPolicy
from notifier.domain.rules import Destination, DestinationRef, Rate, RateLimit, Route, Watch
from notifier.domain.timers import TimePolicy
from notifier.settings import types

#: The destination that is there when no other is.
TERMINAL = "terminal"


class Section(BaseModel):
    """A mapping with known keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_keys(cls, value: object) -> object:
        """A mapping whose keys are all commented out is empty."""
        return {} if isinstance(value, Scalar) and value.empty else value


class Updates(StrEnum):
    """What makes an `updated`: other content, or a new `last_updated_ts` as well."""

    CONTENT = "content"
    TIMESTAMP = "timestamp"


class Egress(StrEnum):
    """Which addresses destinations and `heartbeat_url` may have."""

    ANY = "any"
    PUBLIC = "public"


class Level(StrEnum):
    """The least urgent lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The form of a log line; `auto`: text on a terminal, else JSON."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class ApiKeySettings(Section):
    """A key for signed requests; public reads need none."""

    id: types.KeyId = Field(description="The id of the key.")
    private_key: types.PrivateKey = Field(
        repr=False,
        description="RSA or Ed25519, in PEM, without a passphrase. It is a secret:"
        " use private_key_file.",
    )


def _merge_watches(watches: tuple[Watch, ...]) -> tuple[Watch, ...]:
    """Each query once, with live data if one of its equals has it."""
    live = {watch for watch in watches if watch.live}
    return tuple(replace(one, live=one in live) for one in dict.fromkeys(watches))


class SourceSettings(Section):
    """Where milestones are read, how often, and what counts as news."""

    base_url: types.BaseUrl = Field(
        default="https://external-api.kalshi.com/trade-api/v2",
        description="Where Kalshi's API lives.",
    )
    poll_every: Duration = Field(
        default=timedelta(seconds=30), description="How often to ask for what has changed."
    )
    sweep_every: Duration = Field(
        default=timedelta(minutes=30),
        description="How often to read everything that starts after now - look_back.",
    )
    full_read_every: Duration = Field(
        default=timedelta(hours=24), description="How often to read the whole list."
    )
    look_back: Duration = Field(
        default=timedelta(days=30), description="How far into the past a sweep reaches."
    )
    rate: RateLimit = Field(
        default=Rate(count=2, per=timedelta(seconds=1)), description="No more requests than this."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="The longest that one answer may take, from first to last byte.",
    )
    updates: Annotated[Updates, one_of(Updates)] = Field(
        default=Updates.CONTENT,
        description="content: a milestone is updated when a field other than"
        " last_updated_ts differs. timestamp: also when only that one does.",
    )
    watch: Annotated[
        tuple[Watch, ...], BeforeValidator(as_list), AfterValidator(_merge_watches)
    ] = Field(default=(), description="What to watch, together; none: everything.")
    ignore_tickers: Patterns = Field(
        default=("SIM*",), description="Milestones are ignored when all of their tickers match."
    )
    announce_existing: Flag = Field(
        default=False,
        description="true: what exists at the first read is announced as created.",
    )
    started_grace: DurationOrZero = Field(
        default=timedelta(minutes=30), description="A start is announced at most this late."
    )
    ended_grace: DurationOrZero = Field(
        default=timedelta(hours=24), description="An end is announced at most this late."
    )
    started_again_after: DurationOrZero = Field(
        default=timedelta(minutes=15),
        description="A start that moves later by more than this is announced again.",
    )
    api_key: ApiKeySettings | None = Field(default=None, description="Sign requests with this key.")

    @property
    def watches(self) -> tuple[Watch, ...]:
        """The queries; at least one."""
        return self.watch or (Watch(),)

    @property
    def read_policy(self) -> ReadPolicy:
        """How often to read what."""
        return ReadPolicy(
            poll_every=self.poll_every,
            sweep_every=self.sweep_every,
            full_read_every=self.full_read_every,
        )

    def time_policy(self, leads: tuple[timedelta, ...]) -> TimePolicy:
        """How late is too late, with the leads of the routes' reminders."""
        return TimePolicy(
            started_grace=self.started_grace,
            ended_grace=self.ended_grace,
            started_again_after=self.started_again_after,
            leads=leads,
        )


class OperatorSettings(Section):
    """Who is notified when something is wrong with the service itself."""

    to: Annotated[tuple[DestinationRef, ...], OneOrMany()] = Field(
        default=(), description="Names of destinations; none: only the log says it."
    )


class LogSettings(Section):
    """Logs go to stderr."""

    level: Annotated[Level, one_of(Level)] = Field(
        default=Level.INFO, description="The least urgent lines."
    )
    format: Annotated[LogFormat, one_of(LogFormat)] = Field(
        default=LogFormat.AUTO, description="auto: text on a terminal, else JSON."
    )


class RetentionSettings(Section):
    """How long finished things are kept."""

    events: Duration = Field(default=timedelta(days=90), description="Events.")
    deliveries: Duration = Field(default=timedelta(days=30), description="Finished deliveries.")


class WebSettings(Section):
    """The dashboard, feeds and metrics."""

    password: types.Password | None = Field(
        default=None,
        repr=False,
        description="Needed unless it listens on loopback. Or its argon2id hash.",
    )
    listen: types.Listen | None = Field(
        default=None, description="An address and port; left out: 127.0.0.1:8080."
    )
    external_url: types.Site | None = Field(
        default=None, description="How people reach it; links lead there."
    )
    hosts: types.Hosts = Field(
        default=(), description="More names that it answers to, without a port."
    )
    trusted_proxies: types.Networks = Field(
        default=(),
        description="Addresses or networks that are believed when they say, in "
        "X-Forwarded-For, whom they ask for.",
    )

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to listen on."""
        return self.listen or ("127.0.0.1", 8080)

    @field_validator("listen")
    @classmethod
    def _needs_password(
        cls, listen: tuple[str, int] | None, info: ValidationInfo
    ) -> tuple[str, int] | None:
        is_open = listen is not None and not types.is_loopback(listen[0])
        if is_open and info.data.get("password", "invalid") is None:
            raise ValueError("others can reach it there; set password_file")
        return listen


class _ByName:
    """Annotation of destinations: a mapping of names in the file, a tuple in the program."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source
        name = Annotated[str, Parser(parse_destination_name, text_schema())]
        keys = KeysOrOff('{url: "..."}')
        by_name = handler.generate_schema(dict[name, Annotated[Destination, keys]])
        return core_schema.no_info_after_validator_function(
            lambda found: tuple(found.values()),
            core_schema.no_info_before_validator_function(self._mapping, by_name),
        )

    def _mapping(self, value: object) -> object:
        if isinstance(value, tuple):
            return {one.name: one for one in value}
        return {} if isinstance(value, Scalar) and value.empty else value


class Settings(Section):
    """The file, notifier.yaml."""

    # At least one destination and one route; every route's `to`, and `operator.to`, name
    # destinations that are here.

    source: SourceSettings = Field(
        default_factory=SourceSettings, description="Where milestones are read."
    )
    store: types.Store = Field(
        default="sqlite:///notifier.db",
        description="The database; a relative path counts from this file's folder.",
    )
    timezone: Zone = Field(
        default=ZoneInfo("UTC"), description="For times in messages; an IANA name."
    )
    destinations: Annotated[tuple[Destination, ...], _ByName()] = Field(
        default_factory=tuple, description="Where to send; none: to the terminal."
    )
    routes: Annotated[tuple[Route, ...], BeforeValidator(as_list)] = Field(
        default=(), description="Which events go where; none: every event everywhere."
    )
    operator: OperatorSettings = Field(
        default_factory=OperatorSettings,
        description="Who is notified when something is wrong with the service itself.",
    )
    heartbeat_url: types.Address | None = Field(
        default=None,
        repr=False,
        description="Asked after each complete read, at most once in 10 s.",
    )
    egress: Annotated[Egress, one_of(Egress)] = Field(
        default=Egress.ANY,
        description="public: nothing is sent to loopback, private or other addresses "
        "that the internet does not reach.",
    )
    log: LogSettings = Field(default_factory=LogSettings, description="What is logged.")
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings, description="How long finished things are kept."
    )
    #: None: no dashboard, no feeds, no metrics.
    web: Annotated[WebSettings | None, KeysOrOff("{listen: ...}", off=None)] = Field(
        default_factory=WebSettings, description="The dashboard; or: off."
    )
    _path: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Keep the path of the file."""
        self._path = context.get("path") if context else None

    @property
    def path(self) -> Path | None:
        """The file, absolute; None: there is none."""
        return self._path

    @property
    def external_url(self) -> str | None:
        """Where links in messages lead; None: to Kalshi."""
        return None if self.web is None else self.web.external_url

    @property
    def may_reach(self) -> Callable[[str], bool]:
        """Whether an IP address may be connected to, except for Kalshi's API."""
        return public if self.egress is Egress.PUBLIC else anywhere


def fill_defaults(keys: dict[str, Any]) -> None:
    """Set the keys whose defaults depend on others: names, zones, and where routes lead."""
    try:
        zone = parse_zone(keys.get("timezone", "UTC"))
    except (ValueError, TypeError, AttributeError):
        zone = ZoneInfo("UTC")  # reported at its own key
    destinations = keys.get("destinations") or {TERMINAL: {"url": "terminal://"}}
    keys["destinations"] = destinations
    names = list(destinations) if isinstance(destinations, Mapping) else []
    for name in names:
        one = destinations[name]
        if isinstance(one, Scalar) and one.empty:
            one = destinations[name] = {}
        if isinstance(one, dict):
            one.setdefault("zone", zone)
            one.setdefault("name", str(name))
    routes = keys.get("routes")
    if not routes:
        keys["routes"] = [{"name": "all", "to": names}]
    elif isinstance(routes, list):
        for route in routes:
            if isinstance(route, dict):
                route.setdefault("to", names)
