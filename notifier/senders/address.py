"""What can be told about a destination's URL before anything is loaded."""

import re
from urllib.parse import unquote

from notifier.senders.lane import Unusable

#: What the notifier does itself, for all destinations alike.
_OURS = {
    "cto": "each attempt has its own time limit",
    "optional": "a failed delivery is never taken for a success",
    "overflow": "texts are cut where the service needs it",
    "redirect": "redirects are refused",
    "retry": "failed messages are sent again by themselves",
    "rto": "each attempt has its own time limit",
    "wait": "failed messages are sent again by themselves",
}
_SCHEME = re.compile(r"([a-z0-9]{1,20})://", re.IGNORECASE)


def scheme_of(url: str) -> str:
    """
    The URL's scheme, in lower case.

    Raises:
        Unusable: there is none.

    """
    found = _SCHEME.match(url)
    if found is None:
        raise Unusable("it does not begin with a scheme such as slack://")
    return found[1].lower()


def check_options(url: str) -> None:
    """
    Refuse what would work against the notifier.

    Raises:
        Unusable: names the option.

    """
    for pair in url.partition("?")[2].split("&"):
        key = unquote(pair.partition("=")[0]).lower()
        if key in _OURS:
            raise Unusable(f"leave out {key}=: {_OURS[key]}")
