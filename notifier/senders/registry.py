"""
The plugin of Apprise that serves a destination's URL.

All problems are found when the plugin is loaded, and are described without the URL:
Apprise's own messages show tokens. Importing this module loads Apprise.
"""

# Apprise leaves half its calls untyped.
# mypy: disable-error-code="no-untyped-call"

import difflib
import importlib
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum

from apprise import AppriseAsset, NotifyBase, NotifyType, PersistentStoreMode
from apprise.common import NotifyFormat
from apprise.manager_plugins import NotificationManager
from apprise.plugins import url_to_dict
from apprise.utils.parse import parse_list

from notifier.domain.models import Format, Limits
from notifier.domain.rules import Destination, Rate
from notifier.errors import DestinationError
from notifier.senders import apprise_http, apprise_smtp

#: Plugins that are loaded alone, by scheme: to load all two hundred takes 0.2 s and
#: 16 MB. A contract test compares this with Apprise's own map.
COMMON: Mapping[str, tuple[str, str]] = {
    "discord": ("apprise.plugins.discord", "NotifyDiscord"),
    "json": ("apprise.plugins.custom_json", "NotifyJSON"),
    "jsons": ("apprise.plugins.custom_json", "NotifyJSON"),
    "mailto": ("apprise.plugins.email", "NotifyEmail"),
    "mailtos": ("apprise.plugins.email", "NotifyEmail"),
    "ntfy": ("apprise.plugins.ntfy", "NotifyNtfy"),
    "ntfys": ("apprise.plugins.ntfy", "NotifyNtfy"),
    "slack": ("apprise.plugins.slack", "NotifySlack"),
    "tgram": ("apprise.plugins.telegram", "NotifyTelegram"),
}

#: Plugins for a desktop or a lamp, which a service does not have.
_DESKTOP = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "windows"})

_RATES: Mapping[str, Rate] = {
    "discord": Rate(count=2, per=timedelta(seconds=1)),
    "mailto": Rate(count=10, per=timedelta(minutes=1)),
    "slack": Rate(count=1, per=timedelta(seconds=1)),
    "tgram": Rate(count=20, per=timedelta(minutes=1)),
}

#: Services that keep alerts: a message opens one or adds a note to it.
_ALERTS = frozenset({"opsgenie", "jira"})

#: Loggers whose records show URLs, tokens and texts.
_NOISY_LOGGERS = ("requests", "requests_oauthlib", "oauthlib", "urllib3", "httpx", "markdown")
#: Slack refuses more in one block.
_BLOCK_TITLE, _BLOCK_BODY = 150, 3_000
_BODY = 32_768


class WireProtocol(Enum):
    """What a plugin sends by, and so how it is observed."""

    HTTP = "http"
    SMTP = "smtp"
    #: Only the plugin's own True or False is known.
    OTHER = "other"


def load(scheme: str, destination: Destination, *, read_timeout_s: float) -> NotifyBase:
    """
    The plugin for a destination, ready to send.

    Raises:
        DestinationError: the URL cannot be used; says why, without secrets.

    """
    silence_loggers()
    apprise_http.install()
    apprise_smtp.install()
    kind, arguments = _parse_url(scheme, destination.url)
    if not kind.enabled:
        raise DestinationError(_not_available(scheme, kind))
    if destination.format is not None:
        arguments["format"] = destination.format.value
    asset = AppriseAsset(
        app_id="Milestone Notifier",
        app_desc="Kalshi's milestones",
        app_url="https://kalshi.com",
        image_url_mask="",
        image_url_logo="",
        http_redirects=False,
        storage_mode=PersistentStoreMode.MEMORY,
        service_timeout=0,
        pgp_autogen=False,
        pem_autogen=False,
    )
    try:
        plugin = kind(**{**arguments, "asset": asset, "tag": set()})
    except Exception:  # noqa: BLE001 - two hundred constructors may raise anything, with tokens in the text
        raise DestinationError(_wrong_url(scheme, kind)) from None
    if not plugin.enabled:
        raise DestinationError(_not_available(scheme, kind))
    wanted = destination.format
    if wanted and plugin.resolve_format(NotifyFormat(wanted.value)).value != wanted.value:
        formats = " or ".join(one.value for one in plugin._formats())  # noqa: SLF001 - for the message only
        raise DestinationError(f"it takes no format {wanted.value}, only {formats}")
    if not _ALERTS.isdisjoint(schemes_of(plugin)):
        _open_alerts(plugin, arguments)
    # Rate limit, redirects and time limits are the notifier's business.
    plugin.request_rate_per_sec = 0
    plugin.throttle = _no_throttle  # type: ignore[method-assign] # the way to keep it from sleeping
    plugin.redirects = False
    if protocol_of(type(plugin)) is WireProtocol.HTTP:
        plugin.socket_read_timeout = read_timeout_s
    return plugin


def silence_loggers() -> None:
    """Keep the records of libraries that show what a destination's URL holds out of the log."""
    apprise = logging.getLogger("apprise")
    apprise.setLevel(logging.CRITICAL)
    apprise.propagate = False
    for name in _NOISY_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.ERROR))


def protocol_of(kind: type[NotifyBase]) -> WireProtocol:
    """What the plugins of a class send by."""
    modules = [sys.modules[cls.__module__] for cls in kind.__mro__]
    own = [one for one in modules if one.__name__.startswith("apprise.plugins.")]
    if any(hasattr(module, "AppriseSMTPController") for module in own):
        return WireProtocol.SMTP
    if any(hasattr(module, "requests") for module in own):
        return WireProtocol.HTTP
    return WireProtocol.OTHER


def limits_of(plugin: NotifyBase) -> Limits:
    """What the service can take, in its preferred format or the destination's."""
    title, body = plugin.title_maxlen, plugin.body_maxlen
    body = body if body > 0 else _BODY
    if getattr(plugin, "use_blocks", False):
        title, body = min(title, _BLOCK_TITLE), min(body, _BLOCK_BODY)
    if plugin.overflow_amalgamate_title:
        body -= title
    body -= plugin.overflow_buffer
    return Limits(
        format=Format(plugin.resolve_format().value), title=max(0, title), body=max(1, body)
    )


def rate_of(plugin: NotifyBase) -> Rate | None:
    """How often the service may be asked."""
    for scheme in schemes_of(plugin):
        if scheme in _RATES:
            return _RATES[scheme]
    pause_s = type(plugin).request_rate_per_sec
    return None if pause_s <= 0 else Rate(count=1, per=timedelta(seconds=pause_s))


def schemes_of(plugin: NotifyBase) -> tuple[str, ...]:
    """Every scheme of the plugin, whichever form of URL it was made from."""
    return tuple(parse_list(plugin.protocol, plugin.secure_protocol, sort=False))


def _parse_url(scheme: str, url: str) -> tuple[type[NotifyBase], dict[str, object]]:
    """The plugin's class and the arguments of its constructor."""
    if scheme in COMMON:
        module, name = COMMON[scheme]
        kind: type[NotifyBase] = getattr(importlib.import_module(module), name)
        # As in Apprise: a # begins the name of a channel here, not a fragment.
        arguments = kind.parse_url(url.replace("/#", "/%23"))
        if not arguments:
            raise DestinationError(_wrong_url(scheme, kind))
        return kind, arguments
    plugins = NotificationManager()
    schemes = set(plugins.schemas()) - _DESKTOP
    arguments = None if scheme in _DESKTOP else url_to_dict(url)
    if arguments:
        return plugins[arguments["schema"]], arguments
    if scheme in schemes:
        raise DestinationError(_wrong_url(scheme, plugins[scheme]))
    if scheme in _DESKTOP:
        raise DestinationError(f"{scheme}:// speaks to a desktop, and a service has none")
    if scheme in {"http", "https"}:
        ours = "webhooks" if scheme == "https" else "webhook"
        raise DestinationError(
            f"no service that Apprise knows has this address; for a webhook write {ours}://"
        )
    choices = [*schemes, "terminal", "webhook", "webhooks"]
    near = difflib.get_close_matches(scheme, choices, n=1)
    hint = f"; did you mean {near[0]}://?" if near else ""
    raise DestinationError(f"unknown scheme {scheme}://{hint}")


def _open_alerts(plugin: NotifyBase, arguments: Mapping[str, object]) -> None:
    """
    Have each message open an alert, unless the URL's own mapping says otherwise.

    By default Opsgenie and Jira add a message that is not urgent to an open alert as a
    note; without an open alert the plugin sends nothing and returns True.
    """
    mapping = arguments.get("mapping")
    keys = list(mapping) if isinstance(mapping, Mapping) else []
    # Apprise accepts the beginning of a word for the word.
    if not any(NotifyType.INFO.value.startswith(str(key).lower()) for key in keys):
        actions: dict[NotifyType, str] = vars(plugin)["mapping"]
        actions[NotifyType.INFO] = actions[NotifyType.WARNING]


def _no_throttle(last_io: object = None, wait: float | None = None) -> None:
    """Do not sleep: the dispatcher keeps the destination's rate limit."""


def _wrong_url(scheme: str, kind: type[NotifyBase]) -> str:
    templates: Sequence[str] = kind.templates
    forms = [form.replace("{schema}", scheme) for form in templates[:3]]
    like = f"; it looks like {' or '.join(forms)}" if forms else ""
    return f"this is no URL that {kind.service_name} can use{like}"


def _not_available(scheme: str, kind: type[NotifyBase]) -> str:
    needs: object = kind.requirements.get("packages_required")
    packages = needs if isinstance(needs, list | tuple) else [needs] if needs else []
    missing = f"; install {', '.join(map(str, packages))}" if packages else ""
    return f"{scheme}:// is not available on this machine{missing}"
