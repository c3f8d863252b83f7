"""Destinations that are served by a plugin of Apprise, in worker threads."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import anyio
import apprise.plugins.base as apprise_base
from apprise import NotifyBase, NotifyType
from apprise.common import NotifyFormat, OverflowMode

from notifier.domain.models import (
    Ambiguous,
    Failed,
    Limits,
    Outcome,
    Refused,
    Rendered,
    Scope,
    Sent,
)
from notifier.domain.rules import Destination, Rate
from notifier.senders import apprise_http, apprise_smtp, registry
from notifier.senders.attempt import (
    AttemptRecord,
    DeliveredRecipients,
    NoAnswer,
    TransportError,
    recording,
    salt_of,
)
from notifier.senders.egress_guard import Egress, guarded
from notifier.senders.outcomes import confirms_success, evaluate_attempt, partial_outcome
from notifier.senders.redaction import redact, secrets_of_url
from notifier.senders.registry import WireProtocol
from notifier.senders.service_errors import SERVICE_ERRORS

#: How long a thread may take to notice that its socket was shut down.
GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class _PluginError:
    """The plugin raised an exception of that name."""

    name: str


class AppriseChannel:
    """One instance of a plugin, called once for each message."""

    def __init__(
        self,
        plugin: NotifyBase,
        destination: Destination,
        *,
        tls: ssl.SSLContext,
        unverified: ssl.SSLContext,
        may_reach: Egress,
        attempt_limit: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._plugin = plugin
        self._protocol = registry.protocol_of(type(plugin))
        schemes = registry.schemes_of(plugin)
        self._read_error = next((SERVICE_ERRORS[s] for s in schemes if s in SERVICE_ERRORS), None)
        self._http = apprise_http.HttpConnections(tls, may_reach=may_reach)
        self._smtp = apprise_smtp.SmtpPool(tls=tls, unverified=unverified)
        self._may_reach = may_reach
        self._secrets = secrets_of_url(destination.url)
        self._salt = salt_of(destination.url)
        self._limiter = anyio.CapacityLimiter(destination.concurrency)
        self._limit_s = attempt_limit.total_seconds()
        self._now = now

    @property
    def limits(self) -> Limits:
        """What the service can take."""
        return registry.limits_of(self._plugin)

    @property
    def rate(self) -> Rate | None:
        """How often the service may be asked."""
        return registry.rate_of(self._plugin)

    async def send(
        self, message: Rendered, *, delivered_to: frozenset[str] = frozenset()
    ) -> Outcome:
        """Make one attempt, and evaluate what the plugin returned and what was observed."""
        record = AttemptRecord()
        recipients = DeliveredRecipients(self._salt, message.message_id, delivered_to)
        #: False as well if the thread does not end in time.
        result: bool | _PluginError = False
        try:
            with anyio.move_on_after(self._limit_s + GRACE_S):
                async with anyio.create_task_group() as group:
                    group.start_soon(self._abort_at_limit, record)
                    result = await anyio.to_thread.run_sync(
                        partial(self._notify, message, record, recipients),
                        abandon_on_cancel=True,
                        limiter=self._limiter,
                    )
                    group.cancel_scope.cancel()
        except BaseException:
            record.abort()
            raise
        outcome = self._outcome(record, result=result, delivered_to=delivered_to)
        outcome = partial_outcome(outcome, before=delivered_to, after=recipients.marks)
        if isinstance(outcome, Sent):
            return outcome
        return replace(outcome, reason=redact(outcome.reason, self._secrets))

    async def aclose(self) -> None:
        """Close the kept connections."""
        self._http.close()
        self._smtp.close()

    async def _abort_at_limit(self, record: AttemptRecord) -> None:
        await anyio.sleep(self._limit_s)
        record.abort()

    def _notify(
        self, message: Rendered, record: AttemptRecord, recipients: DeliveredRecipients
    ) -> bool | _PluginError:
        """Call the plugin. Runs in a thread; ends soon after `record.abort`."""
        result: bool | _PluginError
        with ExitStack() as stack:
            guard = stack.enter_context(guarded(self._may_reach))
            stack.enter_context(recording(record))
            stack.enter_context(apprise_http.through(self._http))
            if self._protocol is WireProtocol.SMTP:
                # SmtpPool tells the recipients of one mail apart; the plugin only mails.
                stack.enter_context(apprise_smtp.through(self._smtp, recipients))
            else:
                confirms = partial(self._confirms_success, record)
                stack.enter_context(_tracking(DeliveryTracker(recipients, is_confirmed=confirms)))
            try:
                result = self._plugin.notify(
                    # Apprise refuses an empty body.
                    title=message.title if message.body else "",
                    body=message.body or message.title,
                    body_format=NotifyFormat(message.format.value),
                    notify_type=NotifyType.WARNING if message.urgent else NotifyType.INFO,
                    overflow=OverflowMode.TRUNCATE,
                )
            except Exception as exc:  # noqa: BLE001 - two hundred plugins may raise anything, with tokens in the text
                result = _PluginError(type(exc).__name__)
        if guard.refused and result is not True and not record.observations:
            record.observe(NoAnswer(TransportError.FORBIDDEN))
            return False
        return result

    def _confirms_success(self, record: AttemptRecord) -> bool:
        return confirms_success(record.observations, now=self._now(), read_error=self._read_error)

    def _outcome(
        self, record: AttemptRecord, *, result: bool | _PluginError, delivered_to: frozenset[str]
    ) -> Outcome:
        accepted = result is True
        is_observed = self._protocol is not WireProtocol.OTHER
        if record.aborted and not accepted:
            record.observe_error(TimeoutError())
            if not any(isinstance(one, NoAnswer) for one in record.observations):
                # No request was in flight, or none that could be observed.
                limit = TransportError.ATTEMPT_LIMIT
                record.observe(NoAnswer(limit if is_observed else TransportError.ANSWER_TIMEOUT))
        outcome = evaluate_attempt(
            record.observations,
            accepted=accepted,
            now=self._now(),
            read_error=self._read_error,
        )
        if isinstance(result, _PluginError):
            reason = f"{result.name} in the service's plugin"
            if not record.observations:
                return Failed(reason=reason)
            # The plugin failed on an answer that may have been a success.
            doubtful = isinstance(outcome, Refused) and outcome.status is None
            return Ambiguous(reason=reason) if doubtful or outcome is None else outcome
        if outcome is None:
            if not is_observed:
                return Failed(reason="not sent; the service gives no reason")
            reason = "the service's plugin refused the message before sending it"
            return Refused(reason=reason, scope=Scope.MESSAGE)
        if isinstance(outcome, Sent) and is_observed and not (record.observations or delivered_to):
            reason = "the service's plugin says that it sent, and sent nothing"
            return Refused(reason=reason, scope=Scope.MESSAGE)
        return outcome


#: What Apprise's plugins name their targets by that names the same target in another
#: process; the text of other objects may hold an address in memory.
_STABLE_TYPES = (str, int, tuple, list)


class DeliveryTracker:
    """
    The set of delivered targets that Apprise's plugins consult, kept in ours.

    They call `in` and `add` with Apprise's own key: the piece of the message, and the
    type and text of what names the target. `is_confirmed` says whether the service's
    last answer was a success: a plugin may take a 200 that holds an error for one.
    """

    def __init__(
        self, recipients: DeliveredRecipients, *, is_confirmed: Callable[[], bool]
    ) -> None:
        self._recipients = recipients
        self._is_confirmed = is_confirmed

    def __contains__(self, key: tuple[int | None, tuple[type, str]]) -> bool:
        piece, (kind, text) = key
        return self._recipients.has(str(piece), kind.__name__, text)

    def add(self, key: tuple[int | None, tuple[type, str]]) -> None:
        """Note a target, if it has the same name in another process."""
        piece, (kind, text) = key
        if kind in _STABLE_TYPES and self._is_confirmed():
            self._recipients.add(str(piece), kind.__name__, text)


#: Apprise 2.2's set of delivered targets; private, so a contract test pins it.
_TRACKER: ContextVar[object] | None = getattr(apprise_base, "_delivery_tracker", None)


@contextmanager
def _tracking(tracker: DeliveryTracker) -> Iterator[None]:
    """
    Give the plugin this tracker.

    What some plugins store beside it for the next attempt (`remember` and `recall`: an
    idempotency key, the parts of a long SMS) is not kept: the next attempt makes new ones.
    """
    if _TRACKER is None:
        yield
        return
    token = _TRACKER.set(tracker)
    try:
        yield
    finally:
        _TRACKER.reset(token)
