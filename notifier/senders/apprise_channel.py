"""A destination that one of Apprise's plugins serves, in threads of its own."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

import anyio
import apprise.plugins.base as apprise_base
from apprise import NotifyBase, NotifyType
from apprise.common import NotifyFormat, OverflowMode

from notifier.domain.models import (
    Ambiguous,
    Failed,
    Limits,
    Outcome,
    Rate,
    Refused,
    Rendered,
    Scope,
    Sent,
)
from notifier.senders import apprise_http, apprise_smtp, registry
from notifier.senders.attempt import Break, Broken, Recorder, recording
from notifier.senders.delivered_recipients import Marks, Tracker
from notifier.senders.egress_guard import Egress, guarded
from notifier.senders.lane import Offload
from notifier.senders.outcomes import is_taken, judge, partly
from notifier.senders.redaction import redact
from notifier.senders.service_errors import DIALECTS

#: After its time is up, a thread gets so long to notice that its socket is shut.
GRACE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What one destination's plugin meets the network through."""

    wire: apprise_http.Wire
    mail: apprise_smtp.MailPool
    may_reach: Egress

    def close(self) -> None:
        """Close the kept connections."""
        self.wire.close()
        self.mail.close()


def open_seams(*, tls: ssl.SSLContext, unverified: ssl.SSLContext, may_reach: Egress) -> Seams:
    """The seams of one destination; nothing is connected yet."""
    return Seams(
        wire=apprise_http.Wire(tls, may_reach=may_reach),
        mail=apprise_smtp.MailPool(tls=tls, unverified=unverified),
        may_reach=may_reach,
    )


class PluginLane:
    """One instance of a plugin, called once a message."""

    def __init__(
        self,
        plugin: NotifyBase,
        *,
        seams: Seams,
        secrets: frozenset[str],
        salt: str,
        concurrency: int,
        offload: Offload,
        attempt_limit: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._plugin = plugin
        self._medium = registry.medium_of(plugin)
        self._dialect = next(
            (DIALECTS[one] for one in registry.schemes_of(plugin) if one in DIALECTS),
            None,
        )
        self._seams = seams
        self._secrets = secrets
        self._salt = salt
        self._offload = offload
        self._limiter = anyio.CapacityLimiter(concurrency)
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

    async def send(self, message: Rendered, *, served: frozenset[str] = frozenset()) -> Outcome:
        """Make one attempt; whatever the service does is an outcome."""
        recorder = Recorder()
        marks = Marks(self._salt, message.message_id, served)
        call = partial(self._notify, message, recorder, marks)
        try:
            ending = await self._in_time(call, recorder)
        except BaseException:
            recorder.abort()
            raise
        outcome = self._outcome(ending, recorder)
        if isinstance(outcome, Sent) and not (recorder.seen or served):
            outcome = self._unwatched(outcome)
        outcome = partly(outcome, before=served, after=marks.served)
        if isinstance(outcome, Sent):
            return outcome
        return replace(outcome, reason=redact(outcome.reason, self._secrets))

    async def aclose(self) -> None:
        """Close the kept connections."""
        self._seams.close()

    async def _in_time(self, call: Callable[[], "_Ending"], recorder: Recorder) -> "_Ending":
        ending: _Ending = _Running()
        with anyio.move_on_after(self._limit_s + GRACE_S):
            async with anyio.create_task_group() as group:
                group.start_soon(self._cut, recorder)
                ending = await self._offload(call, limiter=self._limiter)
                group.cancel_scope.cancel()
        return ending

    async def _cut(self, recorder: Recorder) -> None:
        await anyio.sleep(self._limit_s)
        recorder.abort()

    def _notify(self, message: Rendered, recorder: Recorder, marks: Marks) -> "_Ending":
        """Runs in a thread; ends soon after `recorder.abort`."""
        with guarded(self._seams.may_reach) as guard:
            ending = self._call(message, recorder, marks)
        if guard.refused and ending is not True and not recorder.seen:
            recorder.saw(Broken(Break.FORBIDDEN))
            return False
        return ending

    def _call(self, message: Rendered, recorder: Recorder, marks: Marks) -> "_Ending":
        with ExitStack() as stack:
            stack.enter_context(recording(recorder))
            stack.enter_context(apprise_http.through(self._seams.wire))
            stack.enter_context(self._passing_over(marks, recorder))
            try:
                return self._plugin.notify(
                    # Apprise takes no empty body.
                    title=message.title if message.body else "",
                    body=message.body or message.title,
                    body_format=NotifyFormat(message.format.value),
                    notify_type=NotifyType.WARNING if message.urgent else NotifyType.INFO,
                    overflow=OverflowMode.TRUNCATE,
                )
            except Exception as exc:  # noqa: BLE001 - two hundred plugins may raise anything, and texts with tokens
                return _Crashed(type(exc).__name__)

    def _passing_over(self, marks: Marks, recorder: Recorder) -> AbstractContextManager[None]:
        """Inside, who has the message is passed over, and who gets it is marked."""
        if self._medium is registry.Medium.MAIL:
            # The seam tells a mail's recipients apart; the plugin tells but mails.
            return apprise_smtp.through(self._seams.mail, marks)

        def taken() -> bool:
            return is_taken(recorder.seen, now=self._now(), dialect=self._dialect)

        return _tracking(Tracker(marks, is_taken=taken))

    def _outcome(self, ending: "_Ending", recorder: Recorder) -> Outcome:
        accepted = ending is True
        if recorder.cut and not accepted:
            recorder.broke(TimeoutError())
            if not any(isinstance(one, Broken) for one in recorder.seen):
                recorder.saw(Broken(self._cut_between))
        outcome = judge(
            accepted=accepted,
            seen=recorder.seen,
            now=self._now(),
            dialect=self._dialect,
        )
        if isinstance(ending, _Crashed):
            return _crashed(ending, outcome, seen=bool(recorder.seen))
        return outcome or self._unsaid()

    @property
    def _cut_between(self) -> Break:
        """What it means that no request was in flight when time was up."""
        unwatched = self._medium is registry.Medium.OTHER
        return Break.SILENT if unwatched else Break.LIMIT

    def _unwatched(self, outcome: Outcome) -> Outcome:
        """What a plugin's yes is worth that nothing on the wire bears out."""
        if self._medium is registry.Medium.OTHER:
            return outcome
        reason = "the service's plugin says that it sent, and sent nothing"
        return Refused(reason=reason, scope=Scope.MESSAGE)

    def _unsaid(self) -> Outcome:
        if self._medium is registry.Medium.OTHER:
            return Failed(reason="not sent; the service gives no reason")
        reason = "the service's plugin refused the message before sending it"
        return Refused(reason=reason, scope=Scope.MESSAGE)


@dataclass(frozen=True, slots=True)
class _Crashed:
    """The plugin raised an exception of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class _Running:
    """The thread did not come back in time."""


#: How the plugin's call ended; a bool is its own yes or no.
_Ending: TypeAlias = bool | _Crashed | _Running


def _crashed(crash: _Crashed, outcome: Outcome | None, *, seen: bool) -> Outcome:
    reason = f"{crash.name} in the service's plugin"
    if not seen:
        return Failed(reason=reason)
    # The service answered, and the plugin stumbled over the answer.
    taken = isinstance(outcome, Refused) and outcome.status is None
    return Ambiguous(reason=reason) if taken or outcome is None else outcome


#: Apprise 2.2's memory of who was served; private, so a contract test pins it.
_TRACKER: ContextVar[object] | None = getattr(apprise_base, "_delivery_tracker", None)


@contextmanager
def _tracking(tracker: Tracker) -> Iterator[None]:
    """
    Let the plugin ask and tell this tracker.

    What some plugins want to know beside it at the next attempt (`remember` and
    `recall`: a key against repeats that they drew, the parts of a long SMS) are
    values of their process and are not kept: the next attempt draws new ones.
    """
    if _TRACKER is None:
        yield
        return
    token = _TRACKER.set(tracker)
    try:
        yield
    finally:
        _TRACKER.reset(token)
