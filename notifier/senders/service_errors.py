"""
The error codes of single services. Pure.

Sources: Slack, "Incoming webhooks: handling errors" and chat.postMessage's list
of errors; Telegram Bot API, "Making requests" (all read 2026-11).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from notifier.domain.models import Failed, Outcome, Refused, Scope, Sent
from notifier.senders.attempt import HttpAnswer
from notifier.senders.outcomes import ErrorReader, json_object, outcome_of_status

#: No message arrives there until a person has acted.
_SLACK_BAD_DESTINATION = frozenset(
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
_SLACK_TRANSIENT = frozenset(
    """
    fatal_error internal_error message_limit_exceeded rate_limited ratelimited
    request_timeout rollup_error service_unavailable team_added_to_org
    """.split()  # noqa: SIM905 - likewise
)
_SLACK_CODE = re.compile(r"[a-z][a-z_]{2,59}")

#: Telegram answers 400 with these texts whatever the message is.
_TELEGRAM_BAD_DESTINATION = (
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


def slack(answer: HttpAnswer, hint: timedelta | None) -> Outcome | None:
    """Slack's error code, in the JSON of a 200 as well as in a plain body."""
    code: str | None = None
    decoded = json_object(answer.body)
    if "ok" in decoded:
        if decoded["ok"] is not True:
            code = _slack_code(decoded.get("error")) or "no reason"
    elif answer.status != _OK:
        code = _slack_code(answer.body[:80].decode("ascii", "replace").strip())
    if code is None:
        return None
    reason = f"Slack: {code}"
    if code in _SLACK_BAD_DESTINATION:
        return Refused(reason=reason, scope=Scope.DESTINATION, status=answer.status)
    if code in _SLACK_TRANSIENT:
        return Failed(reason=reason, status=answer.status, retry_after=hint)
    by_status = outcome_of_status(answer.status, hint)
    if isinstance(by_status, Sent):
        return Refused(reason=reason, scope=Scope.MESSAGE, status=answer.status)
    return replace(by_status, reason=reason)


def telegram(answer: HttpAnswer, _hint: timedelta | None) -> Outcome | None:
    """A 400 that refers to the chat, not to the message."""
    description = json_object(answer.body).get("description")
    if answer.status != _BAD_REQUEST or not isinstance(description, str):
        return None
    for text in _TELEGRAM_BAD_DESTINATION:
        if text in description.lower():
            return Refused(
                reason=f"Telegram: {text}", scope=Scope.DESTINATION, status=answer.status
            )
    return None


def _slack_code(value: object) -> str | None:
    return value if isinstance(value, str) and _SLACK_CODE.fullmatch(value) else None


#: By the scheme of the service's Apprise URL.
SERVICE_ERRORS: Mapping[str, ErrorReader] = {"slack": slack, "tgram": telegram}
