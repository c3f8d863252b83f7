"""
The plugin of Apprise that serves a destination's URL.

Everything is checked at the start, and what is wrong is said without the URL:
Apprise's own words show tokens. Importing this module loads Apprise.
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

from notifier.domain.models import Destination, Format, Limits, Rate
from notifier.senders import apprise_http, apprise_smtp
from notifier.senders.address import check_options, scheme_of
from notifier.senders.lane import Unusable

#: A class by its scheme without loading the other two hundred plugins, which
#: takes 0.2 s and 16 MB. A contract test compares this with Apprise's own map.
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

#: They speak to a desktop or a lamp, and a service has none.
_DESKTOP = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt"})
_DESKTOP |= {"windows"}

_RATES: Mapping[str, Rate] = {
    "discord": Rate(count=2, per=timedelta(seconds=1)),
    "mailto": Rate(count=10, per=timedelta(minutes=1)),
    "slack": Rate(count=1, per=timedelta(seconds=1)),
    "tgram": Rate(count=20, per=timedelta(minutes=1)),
}

#: They keep alerts, which a message opens or adds a note to.
_ALERTS = frozenset({"opsgenie", "jira"})

#: Loggers whose records show addresses, tokens and texts.
_TALKATIVE = (
    *("requests", "requests_oauthlib", "oauthlib", "urllib3"),
    *("httpx", "httpcore", "markdown"),
)
#: Slack refuses more in one block.
_BLOCK_TITLE, _BLOCK_BODY = 150, 3_000
_BODY = 32_768


class Medium(Enum):
    """What a plugin speaks, and so which seam watches it."""

    HTTP = "http"
    MAIL = "mail"
    #: Something of its own: only its yes or no is known.
    OTHER = "other"


def load(destination: Destination, *, read_timeout_s: float) -> NotifyBase:
    """
    The plugin for a destination, ready to be called.

    Raises:
        Unusable: the URL cannot be used; says why, and nothing secret.

    """
    hush()
    apprise_http.install()
    apprise_smtp.install()
    scheme = scheme_of(destination.url)
    check_options(destination.url)
    plugin = _make(scheme, destination)
    _check_format(plugin, destination.format)
    _tame(plugin, read_timeout_s=read_timeout_s)
    return plugin


def hush() -> None:
    """Let no library's record show what a destination's URL holds."""
    apprise = logging.getLogger("apprise")
    apprise.setLevel(logging.CRITICAL)
    apprise.propagate = False
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.ERROR))


def medium_of(plugin: NotifyBase) -> Medium:
    """What the plugin speaks."""
    return speaks(type(plugin))


def speaks(kind: type[NotifyBase]) -> Medium:
    """What the plugins of a class speak."""
    modules = [sys.modules[cls.__module__] for cls in kind.__mro__]
    own = [one for one in modules if one.__name__.startswith("apprise.plugins.")]
    if any(hasattr(module, "AppriseSMTPController") for module in own):
        return Medium.MAIL
    if any(hasattr(module, "requests") for module in own):
        return Medium.HTTP
    return Medium.OTHER


def format_of(plugin: NotifyBase) -> Format:
    """The format that the destination asks for, else what the service likes best."""
    return Format(plugin.resolve_format().value)


def limits_of(plugin: NotifyBase) -> Limits:
    """What the service can take. A title of 0 means that it has none."""
    title, body = plugin.title_maxlen, plugin.body_maxlen
    body = body if body > 0 else _BODY
    if getattr(plugin, "use_blocks", False):
        title, body = min(title, _BLOCK_TITLE), min(body, _BLOCK_BODY)
    if plugin.overflow_amalgamate_title:
        body -= title
    body -= plugin.overflow_buffer
    return Limits(format=format_of(plugin), title=max(0, title), body=max(1, body))


def rate_of(plugin: NotifyBase) -> Rate | None:
    """How often the service may be asked."""
    for scheme in schemes_of(plugin):
        if scheme in _RATES:
            return _RATES[scheme]
    pause_s = type(plugin).request_rate_per_sec
    if pause_s <= 0:
        return None
    return Rate(count=1, per=timedelta(seconds=pause_s))


def schemes_of(plugin: NotifyBase) -> tuple[str, ...]:
    """Every scheme of the plugin, whichever form of URL it was made from."""
    return tuple(parse_list(plugin.protocol, plugin.secure_protocol, sort=False))


def _make(scheme: str, destination: Destination) -> NotifyBase:
    kind, arguments = _parsed(scheme, destination.url)
    if not kind.enabled:
        raise Unusable(_disabled(scheme, kind))
    if destination.format is not None:
        arguments["format"] = destination.format.value
    try:
        plugin = kind(**{**arguments, "asset": _asset(), "tag": set()})
    except Exception:  # noqa: BLE001 - two hundred constructors, each with its own way; their texts show tokens
        raise Unusable(_unlike(scheme, kind)) from None
    if not plugin.enabled:
        raise Unusable(_disabled(scheme, kind))
    _open_alerts(plugin, arguments)
    return plugin


def _open_alerts(plugin: NotifyBase, arguments: Mapping[str, object]) -> None:
    """
    Let each message open an alert, unless the URL's own mapping says otherwise.

    By default Opsgenie and Jira get what is not urgent as a note on an alert that
    is open already; without one the plugin sends nothing and says that it did.
    """
    if _ALERTS.isdisjoint(schemes_of(plugin)):
        return
    chosen = arguments.get("mapping")
    keys = list(chosen) if isinstance(chosen, Mapping) else []
    # Apprise takes the beginning of a word for the word.
    if any(NotifyType.INFO.value.startswith(str(key).lower()) for key in keys):
        return
    mapping: dict[NotifyType, str] = vars(plugin)["mapping"]
    mapping[NotifyType.INFO] = mapping[NotifyType.WARNING]


def _parsed(scheme: str, url: str) -> tuple[type[NotifyBase], dict[str, object]]:
    if scheme in COMMON:
        module, name = COMMON[scheme]
        kind: type[NotifyBase] = getattr(importlib.import_module(module), name)
        # As Apprise does: a # begins a channel's name here, no fragment.
        arguments = kind.parse_url(url.replace("/#", "/%23"))
        if not arguments:
            raise Unusable(_unlike(scheme, kind))
        return kind, arguments
    known = NotificationManager()
    schemes = set(known.schemas()) - _DESKTOP
    arguments = None if scheme in _DESKTOP else url_to_dict(url)
    if arguments:
        return known[arguments["schema"]], arguments
    if scheme in schemes:
        raise Unusable(_unlike(scheme, known[scheme]))
    raise Unusable(_unknown(scheme, schemes))


def _asset() -> AppriseAsset:
    return AppriseAsset(
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


def _check_format(plugin: NotifyBase, wanted: Format | None) -> None:
    if wanted is None:
        return
    if plugin.resolve_format(NotifyFormat(wanted.value)).value != wanted.value:
        taken = " or ".join(one.value for one in plugin._formats())  # noqa: SLF001 - for the message only
        raise Unusable(f"it takes no format {wanted.value}, only {taken}")


def _tame(plugin: NotifyBase, *, read_timeout_s: float) -> None:
    """Take from the plugin what the notifier decides: waiting, and how long."""
    plugin.request_rate_per_sec = 0
    plugin.throttle = _never_wait  # type: ignore[method-assign] # the way to keep it from sleeping
    plugin.redirects = False
    if medium_of(plugin) is Medium.HTTP:
        plugin.socket_read_timeout = read_timeout_s


def _never_wait(last_io: object = None, wait: float | None = None) -> None:
    """Sleep not: the destination's pace is kept by the dispatcher."""


def _unlike(scheme: str, kind: type[NotifyBase]) -> str:
    templates: Sequence[str] = kind.templates
    forms = [form.replace("{schema}", scheme) for form in templates[:3]]
    like = f"; it looks like {' or '.join(forms)}" if forms else ""
    return f"this is no URL that {kind.service_name} can use{like}"


def _disabled(scheme: str, kind: type[NotifyBase]) -> str:
    needs: object = kind.requirements.get("packages_required")
    named = needs if isinstance(needs, list | tuple) else [needs] if needs else []
    missing = f"; install {', '.join(map(str, named))}" if named else ""
    return f"{scheme}:// is not available on this machine{missing}"


def _unknown(scheme: str, schemes: set[str]) -> str:
    if scheme in _DESKTOP:
        return f"{scheme}:// speaks to a desktop, and a service has none"
    if scheme in {"http", "https"}:
        ours = "webhooks" if scheme == "https" else "webhook"
        return f"no service that Apprise knows has this address; for a webhook write {ours}://"
    choices = [*schemes, "terminal", "webhook", "webhooks"]
    near = difflib.get_close_matches(scheme, choices, n=1)
    hint = f"; did you mean {near[0]}://?" if near else ""
    return f"unknown scheme {scheme}://{hint}"
