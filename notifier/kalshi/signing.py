"""Signatures of requests for accounts with an API key."""

import base64
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta

import httpx

from notifier.clock import Clock
from notifier.errors import ConfigError

Sign = Callable[[bytes], bytes]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Signing(httpx.Auth):
    """
    Signs each request with a Kalshi API key: RSA-PSS or Ed25519, by the key's type.

    `private_key` is in PEM; the constructor raises ConfigError for anything else.

    Source: Kalshi, "API keys".
    """

    def __init__(self, *, key_id: str, private_key: str, clock: Clock) -> None:
        self._key_id = key_id
        self._sign = _signer(private_key)
        self._clock = clock

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the signature headers, dated now."""
        at = str((self._clock.now() - _EPOCH) // timedelta(milliseconds=1))
        path = request.url.raw_path.partition(b"?")[0]
        signature = self._sign(at.encode() + request.method.encode() + path)
        request.headers["KALSHI-ACCESS-KEY"] = self._key_id
        request.headers["KALSHI-ACCESS-TIMESTAMP"] = at
        request.headers["KALSHI-ACCESS-SIGNATURE"] = base64.b64encode(signature).decode()
        yield request


def _signer(private_key: str) -> Sign:
    # Few accounts have a key, and the import takes a tenth of a second.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415 - see above
        ed25519,
        padding,
        rsa,
    )

    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise _key_error() from None
    sha256 = hashes.SHA256()
    pss = padding.PSS(mgf=padding.MGF1(sha256), salt_length=padding.PSS.DIGEST_LENGTH)
    match key:
        case rsa.RSAPrivateKey():
            return lambda text: key.sign(text, pss, sha256)
        case ed25519.Ed25519PrivateKey():
            return key.sign
        case _:
            raise _key_error()


def _key_error() -> ConfigError:
    return ConfigError(["source.api_key.private_key: cannot be signed with"])
