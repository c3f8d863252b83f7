"""Whether a secret can be read out of what was said."""

import base64
from collections.abc import Iterator, Mapping
from urllib.parse import quote


def found(canaries: Mapping[str, str], text: str) -> list[str]:
    """The places whose canaries can be read out of a text, however it is encoded."""
    return [
        place for place, canary in canaries.items() if any(form in text for form in _forms(canary))
    ]


def _forms(canary: str) -> Iterator[str]:
    yield canary
    yield quote(canary, safe="")
    # Without what its neighbours in front of it and behind it would change.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + canary.encode()).decode()
        yield encoded[4 if shift else 0 : -4]
