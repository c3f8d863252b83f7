"""The keys of the file, their defaults and descriptions: the contract as code."""

from datetime import timedelta
from typing import Annotated, TypeAlias, TypeGuard
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from notifier.domain.match_keys import DOTTED, MILESTONE_KEYS
from notifier.domain.models import Rate, Then
from notifier.domain.models import Route as _Route
from notifier.settings import keys
from notifier.settings.reading import quote
from notifier.settings.settings import Egress, Level, LogFormat, Updates
from notifier.settings.tree import Scalar
from notifier.settings.values import Unreadable, window

# --- mappings -----------------------------------------------------------------


class Shape(BaseModel):
    """A mapping with known keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        """A mapping whose keys are all commented out is empty."""
        return keys.empty_mapping(value)


class WatchShape(Shape):
    """One query against the list; every key but live narrows it."""

    category: keys.Text | None = Field(default=None, description="Such as Sports.")
    type: keys.Text | None = Field(default=None, description="Such as football_game.")
    competition: keys.Text | None = Field(
        default=None, description="Kalshi's own filter; known to miss milestones."
    )
    source_id: keys.Text | None = Field(default=None, description="The source's own id.")
    related_event_ticker: keys.Text | None = Field(
        default=None, description="Milestones related to this event."
    )
    live: keys.Flag = Field(
        default=False,
        description="true: ask Kalshi's live data whether they have really started.",
    )


class ApiKeyShape(Shape):
    """A key for signed requests; public reads need none."""

    id: keys.KeyId = Field(description="The id of the key.")
    private_key: keys.PrivateKey | None = Field(
        default=None,
        description="RSA or Ed25519, in PEM, without a passphrase. It is a secret:"
        " use private_key_file.",
    )
    private_key_file: keys.Text | None = Field(
        default=None, description="A file that holds the private key in PEM."
    )


class SourceShape(Shape):
    """Where milestones are read, how often, and what counts as news."""

    base_url: keys.BaseUrl = Field(
        default="https://external-api.kalshi.com/trade-api/v2",
        description="Where Kalshi's API lives.",
    )
    poll_every: keys.Lapse = Field(
        default=timedelta(seconds=30),
        description="How often to ask for what has changed.",
    )
    sweep_every: keys.Lapse = Field(
        default=timedelta(minutes=30),
        description="How often to read everything that starts after now - look_back.",
    )
    full_read_every: keys.Lapse = Field(
        default=timedelta(hours=24),
        description="How often to read the whole list.",
    )
    look_back: keys.Lapse = Field(
        default=timedelta(days=30),
        description="How far into the past a sweep reaches.",
    )
    rate: keys.Pace = Field(
        default=Rate(count=2, per=timedelta(seconds=1)),
        description="No more requests than this.",
    )
    timeout: keys.Lapse = Field(
        default=timedelta(seconds=30),
        description="The longest that one answer may take, from first to last byte.",
    )
    updates: keys.UpdatesName = Field(
        default=Updates.CONTENT,
        description="content: a milestone is updated when a field other than"
        " last_updated_ts differs. timestamp: also when only that one does.",
    )
    watch: Annotated[tuple[WatchShape, ...], BeforeValidator(keys.empty_list)] = Field(
        default=(), description="What to watch, together; none: everything."
    )
    ignore_tickers: keys.Patterns = Field(
        default=("SIM*",),
        description="Milestones are ignored when all of their tickers match.",
    )
    announce_existing: keys.Flag = Field(
        default=False,
        description="true: what exists at the first read is announced as created.",
    )
    started_grace: keys.Span = Field(
        default=timedelta(minutes=30),
        description="How late a start may still be told.",
    )
    ended_grace: keys.Span = Field(
        default=timedelta(hours=24), description="How late an end may still be told."
    )
    started_again_after: keys.Span = Field(
        default=timedelta(minutes=15),
        description="A start that moves by more than this is told again.",
    )
    api_key: ApiKeyShape | None = Field(default=None, description="Sign requests with this key.")


class DigestShape(Shape):
    """When many events become one message; or: off."""

    over: keys.Over | None = Field(
        default=10, description="More than so many due together go as one message."
    )
    window: keys.Lapse | None = Field(
        default=None,
        description="The first waits so long for more to join, then all go as one"
        " message. started and upcoming never wait.",
    )
    at: keys.Clock | None = Field(
        default=None,
        description="Gather until this time of day, in the destination's zone;"
        " beats window. started and upcoming never wait.",
    )
    every: keys.EveryName | None = Field(
        default=None, description="With at: how often; left out: day."
    )


class QuietShape(Shape):
    """When to hold messages back."""

    windows: keys.Windows = Field(description="Such as Mon-Fri 22:00-07:00.")
    zone: keys.Zone | None = Field(
        default=None, description="Of the windows; left out: the destination's."
    )
    then: keys.ThenName = Field(
        default=Then.DELIVER,
        description="What becomes of what was held back: deliver at their end,"
        " digest: as one message; or drop: at once.",
    )
    let_pass: keys.Kinds = Field(
        default=(), alias="pass", description="Kinds that are never held back."
    )


def _is_word(value: object) -> TypeGuard[Scalar]:
    """Whether one word stands where a mapping, or off, ought to."""
    return isinstance(value, Scalar) and not value.empty


def _digest(value: object) -> object:
    """`off`: never a digest."""
    if not _is_word(value):
        return value
    if value.text != "off":
        what = f"{quote(value)} is neither off nor a mapping such as {{over: 10}}"
        raise ValueError(what)
    return DigestShape.model_construct(over=None)


def _quiet(value: object) -> object:
    """`off`: nothing is held back."""
    if not _is_word(value):
        return value
    if value.text != "off":
        hours = quote(value) if _is_window(value.text) else '"22:00-07:00"'
        what = f"is neither off nor a mapping such as {{windows: {hours}}}"
        raise ValueError(f"{quote(value)} {what}")
    return QuietShape.model_construct(windows=())


def _is_window(text: str) -> bool:
    try:
        window(text)
    except Unreadable:
        return False
    return True


_Off: TypeAlias = Annotated[str, WithJsonSchema({"const": "off"})]
Digest: TypeAlias = Annotated[
    DigestShape, BeforeValidator(_digest, json_schema_input_type=DigestShape | _Off)
]
Quiet: TypeAlias = Annotated[
    QuietShape, BeforeValidator(_quiet, json_schema_input_type=QuietShape | _Off)
]


class DestinationShape(Shape):
    """A named place to send to. url or url_file must be given."""

    url: keys.AppriseUrl | None = Field(
        default=None,
        description="Any Apprise URL, webhook(s)://... or terminal://. It is a"
        ' secret: use "${VAR}" or url_file.',
    )
    url_file: keys.Text | None = Field(default=None, description="A file that holds the URL.")
    format: keys.FormatName | None = Field(
        default=None, description="Left out: what the service likes best."
    )
    rate: keys.Pace | None = Field(
        default=None, description="No more requests than this, such as 10/m."
    )
    concurrency: keys.Lanes = Field(
        default=1, description="How many requests may be on their way at once."
    )
    on_ambiguous: keys.AmbiguityName = Field(
        default=keys.Ambiguity.RETRY,
        description="What follows a request whose answer never came: retry with"
        " the same id, or drop, where twice is worse than never.",
    )
    zone: keys.Zone | None = Field(
        default=None,
        description="For times in its messages, its quiet hours and its digests;"
        " left out: timezone.",
    )
    digest: Digest | None = Field(
        default=None, description="When many events become one message; or: off."
    )
    quiet: Quiet | None = Field(default=None, description="When to hold messages back; or: off.")


class MatchShape(Shape):
    """Keys AND, values of one key OR. Globs without case; ~ begins a regex."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": False,
            "patternProperties": {
                rf"^(?:{DOTTED}|{'|'.join(MILESTONE_KEYS)})$": {
                    "type": ["string", "array", "number", "boolean"],
                    "description": "A field of the milestone, as Kalshi names it.",
                }
            },
        },
    )
    __pydantic_extra__: dict[str, keys.SomePatterns]

    events: keys.SomeKinds | None = Field(
        default=None,
        description="Kinds of events. upcoming comes from reminders alone.",
    )
    category: keys.SomePatterns | None = Field(default=None, description="Such as Sports.")
    type: keys.SomePatterns | None = Field(default=None, description="Such as football_game.")
    tickers: keys.SomePatterns | None = Field(
        default=None, description="Any of the primary and related tickers."
    )
    title: keys.SomePatterns | None = Field(default=None, description="The title.")
    changed: keys.SomePatterns | None = Field(
        default=None,
        description="Only updates that change one of these fields, such as start_date.",
    )


class TextsShape(Shape):
    """A message of your own, in Jinja2."""

    title: keys.Jinja | None = Field(default=None, description="The title or subject.")
    body: keys.Jinja | None = Field(default=None, description="The text.")


class TemplateShape(TextsShape):
    """A message of your own, for all kinds, and for single ones."""

    created: TextsShape | None = Field(default=None, description="For created.")
    updated: TextsShape | None = Field(default=None, description="For updated.")
    upcoming: TextsShape | None = Field(default=None, description="For upcoming.")
    started: TextsShape | None = Field(default=None, description="For started.")
    ended: TextsShape | None = Field(default=None, description="For ended.")
    removed: TextsShape | None = Field(default=None, description="For removed.")


class RouteShape(Shape):
    """Which events go where, and how."""

    name: keys.Label = Field(description="A name of a-z 0-9 _ -.")
    match: MatchShape | None = Field(default=None, description="Which events; left out: all.")
    to: keys.SomeTexts | None = Field(
        default=None, description="Names of destinations; left out: all of them."
    )
    stop: keys.Flag = Field(
        default=False, description="true: later routes do not see what this one took."
    )
    reminders: keys.Lapses = Field(
        default=(), description="How long before a start to remind, such as 15m."
    )
    ignore_changes: keys.Patterns = Field(
        default=_Route(name="", to=()).ignore_changes,
        description="An update confined to these fields is not told; a change to or"
        " from cancelled, postponed, abandoned, suspended or delayed always is.",
    )
    digest: Digest | None = Field(
        default=None, description="Left out: as its destinations say; or: off."
    )
    quiet: Quiet | None = Field(
        default=None,
        description="When to hold messages back; left out: as its destinations say; or: off.",
    )
    template: TemplateShape | None = Field(default=None, description="Messages of your own.")


class OperatorShape(Shape):
    """Who is told when something is wrong with the service itself."""

    to: keys.Texts = Field(
        default=(), description="Names of destinations; none: only the log says it."
    )


class LogShape(Shape):
    """Logs go to stderr."""

    level: keys.LevelName = Field(default=Level.INFO, description="The least urgent lines.")
    format: keys.LogFormatName = Field(
        default=LogFormat.AUTO, description="auto: text on a terminal, else JSON."
    )


class RetentionShape(Shape):
    """How long finished things are kept."""

    events: keys.Lapse = Field(default=timedelta(days=90), description="Events.")
    deliveries: keys.Lapse = Field(default=timedelta(days=30), description="Finished deliveries.")


class WebShape(Shape):
    """The dashboard, feeds and metrics."""

    listen: keys.Listen | None = Field(
        default=None, description="An address and port; left out: 127.0.0.1:8080."
    )
    external_url: keys.Site | None = Field(
        default=None, description="How people reach it; links lead there."
    )
    hosts: keys.Hosts = Field(
        default=(), description="More names that it answers to, without a port."
    )
    password: keys.Password | None = Field(
        default=None,
        description="Needed unless it listens on loopback. Or its argon2id hash.",
    )
    password_file: keys.Text | None = Field(
        default=None, description="A file that holds the password."
    )
    trusted_proxies: keys.Networks = Field(
        default=(),
        description="Addresses or networks that are believed when they say, in "
        "X-Forwarded-For, whom they ask for.",
    )


def _web(value: object) -> object:
    """`off`: no web at all."""
    return None if isinstance(value, Scalar) and value.text == "off" else value


class FileShape(Shape):
    """The file, notifier.yaml."""

    source: SourceShape = Field(
        default_factory=SourceShape, description="Where milestones are read."
    )
    store: keys.Store = Field(
        default="sqlite:///notifier.db",
        description="The database; a relative path counts from this file's folder.",
    )
    timezone: keys.Zone = Field(
        default=ZoneInfo("UTC"), description="For times in messages; an IANA name."
    )
    destinations: Annotated[
        dict[keys.Handle, DestinationShape],
        BeforeValidator(keys.empty_mapping),
    ] = Field(default_factory=dict, description="Where to send; none: to the terminal.")
    routes: Annotated[tuple[RouteShape, ...], BeforeValidator(keys.empty_list)] = Field(
        default=(), description="Which events go where; none: every event everywhere."
    )
    operator: OperatorShape = Field(
        default_factory=OperatorShape,
        description="Who is told when something is wrong with the service itself.",
    )
    heartbeat_url: keys.Address | None = Field(
        default=None,
        description="Asked after each complete read, at most once in 10 s.",
    )
    egress: keys.EgressName = Field(
        default=Egress.ANY,
        description="public: nothing is sent to loopback, private or other addresses "
        "that the internet does not reach.",
    )
    log: LogShape = Field(default_factory=LogShape, description="What is logged.")
    retention: RetentionShape = Field(
        default_factory=RetentionShape,
        description="How long finished things are kept.",
    )
    web: Annotated[
        WebShape | None, BeforeValidator(_web, json_schema_input_type=WebShape | _Off)
    ] = Field(default_factory=WebShape, description="The dashboard; or: off.")
