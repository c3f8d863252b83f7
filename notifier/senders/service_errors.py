"""
What single services say in words of their own. Pure.

Sources: Slack, "Incoming webhooks: handling errors" and chat.postMessage's list
of errors; Telegram Bot API, "Making requests" (all read 2026-11).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from notifier.domain.models import Failed, Outcome, Refused, Scope, Sent
from notifier.senders.attempt import Answer
from notifier.senders.outcomes import Dialect, json_object, of_status

#: Nothing we send there will arrive before a person has acted.
_SLACK_SET_UP = frozenset(
    """
    access_denied account_inactive action_prohibited as_user_not_supported
    cannot_dm_bot channel_is_archived channel_not_found ekm_access_denied
    enterprise_is_restricted invalid_auth invalid_token is_archived is_inactive
    messages_tab_disabled missing_scope no_active_hooks no_permission no_service
    no_service_id no_team not_allowed_token_type not_authed not_in_channel
    org_login_required posting_to_general_channel_denied restricted_action
    restricted_action_non_threadable_channel restricted_action_read_only_channel
    restricted_action_thread_only_channel team_access_not_granted team_disabled
    team_not_found token_expired token_revoked two_factor_setup_required
    user_not_found
    """.split()  # noqa: SIM905 - a list of words reads as words
)
_SLACK_LATER = frozenset(
    """
    fatal_error internal_error message_limit_exceeded rate_limited ratelimited
    request_timeout rollup_error service_unavailable team_added_to_org
    """.split()  # noqa: SIM905 - likewise
)
_WORD = re.compile(r"[a-z][a-z_]{2,59}")

#: Telegram answers 400 to these, whatever the message.
_TELEGRAM_SET_UP = (
    "chat not found",
    "group chat was upgraded to a supergroup chat",
    "group is deactivated",
    "have no rights to send a message",
    "not enough rights to send text messages to the chat",
    "peer_id_invalid",
    "topic_closed",
    "message thread not found",
)
_BAD_REQUEST = 400
_OK = 200


def slack(answer: Answer, hint: timedelta | None) -> Outcome | None:
    """Slack's error word, in a 200 as well as in a plain body."""
    word = _slack_word(answer)
    if word is None:
        return None
    reason = f"Slack: {word}"
    if word in _SLACK_SET_UP:
        return Refused(reason=reason, scope=Scope.DESTINATION, status=answer.status)
    if word in _SLACK_LATER:
        return Failed(reason=reason, status=answer.status, retry_after=hint)
    plain = of_status(answer.status, hint)
    if isinstance(plain, Sent):
        return Refused(reason=reason, scope=Scope.MESSAGE, status=answer.status)
    return replace(plain, reason=reason)


def telegram(answer: Answer, _hint: timedelta | None) -> Outcome | None:
    """A 400 that means the chat, not the message."""
    description = json_object(answer.body).get("description")
    if answer.status != _BAD_REQUEST or not isinstance(description, str):
        return None
    said = description.lower()
    known = next((text for text in _TELEGRAM_SET_UP if text in said), None)
    if known is None:
        return None
    return Refused(reason=f"Telegram: {known}", scope=Scope.DESTINATION, status=answer.status)


def _slack_word(answer: Answer) -> str | None:
    said = json_object(answer.body)
    if "ok" in said:
        return None if said["ok"] is True else _word(said.get("error")) or "no reason"
    text = answer.body[:80].decode("ascii", "replace").strip()
    return _word(text) if answer.status != _OK else None


def _word(value: object) -> str | None:
    known = isinstance(value, str) and _WORD.fullmatch(value)
    return value if known and isinstance(value, str) else None


#: By the scheme of the service's Apprise URL.
DIALECTS: Mapping[str, Dialect] = {"slack": slack, "tgram": telegram}
