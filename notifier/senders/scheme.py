"""
Our webhook as a plugin for Apprise alone: its command line, its other users.

The notifier itself sends webhooks natively (`hook_lane`), but a
`webhooks://` URL means the same wherever Apprise is.
"""

# Apprise types its class attributes by their empty defaults, and half its calls.
# mypy: disable-error-code="assignment,override,misc,no-untyped-call"

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, ClassVar

import requests
from apprise import NotifyBase, NotifyType
from apprise.exception import AppriseImproperlyConfigured
from apprise.manager_plugins import NotificationManager

from notifier.domain.models import Format, Rendered, identify
from notifier.senders import webhook
from notifier.senders.lane import Unusable

#: The message that a text given to Apprise belongs to; None: there is but text.
announced: ContextVar[Rendered | None] = ContextVar("announced", default=None)


class NotifyWebhook(NotifyBase):
    """CloudEvents, signed as Standard Webhooks says."""

    service_name = "Standard Webhook"
    service_url = "https://www.standardwebhooks.com/"
    setup_url = "https://www.standardwebhooks.com/"
    protocol = "webhook"
    secure_protocol = "webhooks"
    category = "custom"
    request_rate_per_sec = 0
    body_maxlen = 100_000
    templates = ("{schema}://{host}", "{schema}://{host}:{port}")
    template_tokens: ClassVar = dict(
        NotifyBase.template_tokens,
        host={"name": "Hostname", "type": "string", "required": True},
        port={"name": "Port", "type": "int", "min": 1, "max": 65535},
        user={"name": "Username", "type": "string"},
        password={"name": "Password", "type": "string", "private": True},
    )
    template_args: ClassVar = dict(
        NotifyBase.template_args,
        secret={"name": "Signing Secrets", "type": "string", "private": True},
    )
    template_kwargs: ClassVar = {
        "headers": {"name": "HTTP Header", "prefix": "+"},
        "params": {"name": "Query", "prefix": "-"},
    }

    def __init__(self, address: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        try:
            self._target = webhook.parse(address)
        except Unusable as exc:
            raise AppriseImproperlyConfigured(str(exc)) from None
        self._address = address

    def send(
        self,
        body: str,
        title: str = "",
        notify_type: NotifyType = NotifyType.INFO,
        **_kwargs: Any,
    ) -> bool:
        """Post the message that is announced, else the text."""
        now = datetime.now(UTC)
        message = announced.get() or _text_only(title, body, now, notify_type)
        built = webhook.request(self._target, message, now=now)
        try:
            answer = requests.post(
                self._target.url,
                data=built.body,
                headers=dict(built.headers),
                verify=self._target.verify,
                timeout=self.request_timeout,
                allow_redirects=False,
            )
        except requests.RequestException as exc:
            self.logger.warning("A webhook failed: %s.", type(exc).__name__)
            return False
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004 - HTTP's own
            self.logger.warning("A webhook failed: error=%d.", answer.status_code)
            return False
        return True

    def url(self, privacy: bool = False, *_args: Any, **_kwargs: Any) -> str:  # noqa: FBT001, FBT002 - Apprise's signature
        """The URL to be made from again; with `privacy`, one that tells nothing."""
        return f"{self.schema}://***" if privacy else self._address

    @property
    def url_identifier(self) -> tuple[str, str]:
        """What tells this webhook from others."""
        return (self.schema, self._address)

    @staticmethod
    def parse_url(url: str, **_kwargs: Any) -> dict[str, Any] | None:
        """The arguments of the class, or None if this is no webhook's URL."""
        results = NotifyBase.parse_url(url, verify_host=False)
        return {**results, "address": url} if results else None


def register() -> None:
    """Teach Apprise, in this process, our two schemes; may be called again."""
    known = NotificationManager()
    if not any(scheme in known for scheme in webhook.SCHEMES):
        known.add(NotifyWebhook)


def _text_only(title: str, body: str, now: datetime, kind: NotifyType) -> Rendered:
    return Rendered(
        message_id=identify("msg_", now.isoformat(), title, body),
        title=title,
        body=body,
        format=Format.TEXT,
        urgent=kind is not NotifyType.INFO,
        events=(),
    )
