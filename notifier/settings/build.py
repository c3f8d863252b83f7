"""Shape -> Config: defaults that depend on other keys are filled in here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from notifier.domain.models import (
    Destination,
    DigestPolicy,
    Kind,
    Match,
    QuietPolicy,
    Route,
    Template,
    Watch,
)
from notifier.settings.cross import TERMINAL
from notifier.settings.keys import Ambiguity
from notifier.settings.settings import ApiKey, Config, Log, Retention, Source, Web
from notifier.settings.shape import (
    ApiKeyShape,
    DestinationShape,
    DigestShape,
    FileShape,
    MatchShape,
    QuietShape,
    RouteShape,
    SourceShape,
    TextsShape,
    WatchShape,
    WebShape,
)
from notifier.settings.store_url import absolute


def build(shape: FileShape, *, path: Path | None, folder: Path) -> Config:
    """The configuration that a checked file means; `folder` anchors relative paths."""
    destinations = _destinations(shape)
    names = tuple(destination.name for destination in destinations)
    return Config(
        path=path,
        source=_source(shape.source),
        store=absolute(shape.store, folder=folder),
        zone=shape.timezone,
        destinations=destinations,
        routes=tuple(_route(route, names) for route in shape.routes)
        or (Route(name="all", to=names),),
        log=Log(level=shape.log.level, format=shape.log.format),
        retention=Retention(events=shape.retention.events, deliveries=shape.retention.deliveries),
        operator=tuple(dict.fromkeys(shape.operator.to)),
        heartbeat_url=shape.heartbeat_url,
        egress=shape.egress,
        web=None if shape.web is None else _web(shape.web),
    )


def _source(shape: SourceShape) -> Source:
    return Source(
        base_url=shape.base_url,
        poll_every=shape.poll_every,
        sweep_every=shape.sweep_every,
        full_read_every=shape.full_read_every,
        look_back=shape.look_back,
        rate=shape.rate,
        timeout=shape.timeout,
        updates=shape.updates,
        watch=_watches(shape.watch) or (Watch(),),
        ignore_tickers=shape.ignore_tickers,
        announce_existing=shape.announce_existing,
        started_grace=shape.started_grace,
        ended_grace=shape.ended_grace,
        started_again_after=shape.started_again_after,
        api_key=_api_key(shape.api_key) if shape.api_key else None,
    )


def _api_key(shape: ApiKeyShape) -> ApiKey:
    return ApiKey(id=shape.id, private_key=shape.private_key or "")


def _web(shape: WebShape) -> Web:
    web = Web(
        external_url=shape.external_url,
        hosts=shape.hosts,
        password=shape.password,
        trusted_proxies=shape.trusted_proxies,
    )
    if shape.listen is None:
        return web
    host, port = shape.listen
    return replace(web, host=host, port=port, is_asked_for=True)


def _watches(shapes: Sequence[WatchShape]) -> tuple[Watch, ...]:
    """Each query once; whichever of equal ones wants live data gets it."""
    wanted = [_watch(shape) for shape in shapes]
    live = {watch for watch in wanted if watch.live}
    return tuple(replace(one, live=one in live) for one in dict.fromkeys(wanted))


def _watch(shape: WatchShape) -> Watch:
    return Watch(
        category=shape.category,
        type=shape.type,
        competition=shape.competition,
        source_id=shape.source_id,
        related_event_ticker=shape.related_event_ticker,
        live=shape.live,
    )


def _destinations(shape: FileShape) -> tuple[Destination, ...]:
    """The destinations in the order of the file; none: the terminal."""
    found = tuple(
        _destination(name, destination, shape) for name, destination in shape.destinations.items()
    )
    terminal = Destination(name=TERMINAL, url="terminal://", zone=shape.timezone)
    return found or (terminal,)


def _destination(name: str, shape: DestinationShape, file: FileShape) -> Destination:
    return Destination(
        name=name,
        url=shape.url or "",
        format=shape.format,
        concurrency=shape.concurrency,
        rate=shape.rate,
        zone=shape.zone or file.timezone,
        digest=_digest(shape.digest) if shape.digest else DigestPolicy(),
        quiet=_quiet(shape.quiet) if shape.quiet else None,
        drop_ambiguous=shape.on_ambiguous is Ambiguity.DROP,
    )


def _digest(shape: DigestShape) -> DigestPolicy:
    return DigestPolicy(over=shape.over, window=shape.window, at=shape.at)


def _quiet(shape: QuietShape) -> QuietPolicy:
    return QuietPolicy(
        windows=shape.windows,
        zone=shape.zone,
        then=shape.then,
        let_pass=frozenset(shape.let_pass),
    )


def _route(shape: RouteShape, names: tuple[str, ...]) -> Route:
    return Route(
        name=shape.name,
        to=tuple(dict.fromkeys(shape.to)) if shape.to else names,
        match=_match(shape.match),
        stop=shape.stop,
        reminders=tuple(dict.fromkeys(shape.reminders)),
        ignore_changes=shape.ignore_changes,
        digest=_digest(shape.digest) if shape.digest else None,
        quiet=_quiet(shape.quiet) if shape.quiet else None,
        templates=_templates(shape),
    )


def _match(shape: MatchShape | None) -> Match:
    if shape is None:
        return Match()
    own = {
        "category": shape.category,
        "type": shape.type,
        "tickers": shape.tickers,
        "title": shape.title,
    }
    fields = {**own, **(shape.__pydantic_extra__ or {})}
    return Match(
        events=frozenset(shape.events or ()),
        fields=tuple((key, patterns) for key, patterns in fields.items() if patterns),
        changed=shape.changed or (),
    )


def _templates(shape: RouteShape) -> dict[Kind | None, Template]:
    """Texts by kind; those for every kind stand under None."""
    if shape.template is None:
        return {}
    texts: dict[Kind | None, TextsShape | None] = {
        None: shape.template,
        Kind.CREATED: shape.template.created,
        Kind.UPDATED: shape.template.updated,
        Kind.UPCOMING: shape.template.upcoming,
        Kind.STARTED: shape.template.started,
        Kind.ENDED: shape.template.ended,
        Kind.REMOVED: shape.template.removed,
    }
    return {
        kind: Template(title=text.title, body=text.body)
        for kind, text in texts.items()
        if text is not None and (text.title is not None or text.body is not None)
    }
