"""Signatures, checked with the public half of known keys."""

import base64
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from clocks import SetClock
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from servers.loopback import Request, Response, serving

from notifier.domain.rules import Watch
from notifier.errors import ConfigError
from notifier.kalshi.client import KalshiClient
from notifier.kalshi.signing import Signing

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 0, 0, 250_999, tzinfo=UTC)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
#: The first test of RFC 8032.
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, form: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


async def asked(private_key: str) -> Request:
    """What reaches the API when a page is asked for."""
    seen: list[Request] = []

    async def answer(request: Request) -> Response:
        seen.append(request)
        return Response(body=b'{"milestones": [], "cursor": ""}')

    clock = SetClock(NOW)
    async with serving(answer) as port:
        client = KalshiClient(
            base_url=f"http://127.0.0.1:{port}/trade-api/v2",
            timeout=timedelta(seconds=10),
            clock=clock,
            user_agent="notifier/test",
            auth=Signing(key_id="k-1", private_key=private_key, clock=clock),
        )
        async with aclosing(client):
            await client.page(watch=Watch(category="Sports"))
    return seen[0]


def _signed(request: Request) -> tuple[bytes, bytes]:
    signature = base64.b64decode(request.headers["kalshi-access-signature"])
    return signature, b"1795370400250GET/trade-api/v2/milestones"


def _is_pss(key: rsa.RSAPublicKey, signature: bytes, text: bytes) -> bool:
    pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)
    try:
        key.verify(signature, text, pss, SHA256())
    except InvalidSignature:
        return False
    return True


async def test_the_headers_name_the_key_and_the_moment_in_milliseconds() -> None:
    request = await asked(pem(ED25519, PrivateFormat.PKCS8))

    assert "category=Sports" in request.target
    assert request.headers["kalshi-access-key"] == "k-1"
    assert request.headers["kalshi-access-timestamp"] == "1795370400250"


@pytest.mark.parametrize(
    "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["new", "old"]
)
async def test_an_rsa_key_signs_with_pss_and_a_salt_as_long_as_the_digest(
    form: PrivateFormat,
) -> None:
    signature, text = _signed(await asked(pem(RSA, form)))

    assert _is_pss(RSA.public_key(), signature, text)
    assert not _is_pss(RSA.public_key(), signature, text + b"?limit=500")


async def test_an_ed25519_key_signs_as_it_always_does() -> None:
    signature, text = _signed(await asked(pem(ED25519, PrivateFormat.PKCS8)))

    assert signature == ED25519.sign(text)


async def test_without_a_key_nothing_is_signed() -> None:
    seen: list[Request] = []

    async def answer(request: Request) -> Response:
        seen.append(request)
        return Response(body=b'{"milestones": [], "cursor": ""}')

    async with serving(answer) as port:
        client = KalshiClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=timedelta(seconds=10),
            clock=SetClock(NOW),
            user_agent="notifier/test",
        )
        async with aclosing(client):
            await client.page(watch=Watch())

    assert not [name for name in seen[0].headers if name.startswith("kalshi")]


@pytest.mark.parametrize("text", ["", "hunter2", "-----BEGIN PRIVATE KEY-----"])
async def test_what_cannot_sign_is_an_error_of_configuration(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Signing(key_id="k", private_key=text, clock=SetClock(NOW))

    assert caught.value.problems == ("source.api_key.private_key: cannot be signed with",)
