from pathlib import Path

import pytest
from configured import configure, refused
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as curve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

ED25519 = Ed25519PrivateKey.generate()
FILE = "source: {api_key: {id: k-1, private_key_file: key.pem}}"


def pem(encryption: KeySerializationEncryption) -> bytes:
    return ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


PLAIN = pem(NoEncryption())
#: As Kalshi does not take them.
CURVE = curve(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_comes_with_its_id_and_does_not_print(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(PLAIN)

    config = configure(tmp_path, FILE)

    assert config.source.api_key is not None
    assert config.source.api_key.id == "k-1"
    assert config.source.api_key.private_key == PLAIN.decode().removesuffix("\n")
    assert PLAIN.splitlines()[1].decode() not in repr(config)


def test_a_key_may_come_from_the_environment(tmp_path: Path) -> None:
    text = 'source: {api_key: {id: k-1, private_key: "${KEY}"}}'

    config = configure(tmp_path, text, KEY=PLAIN.decode())

    assert config.source.api_key is not None
    assert config.source.api_key.private_key == PLAIN.decode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"hunter2", "is no private key in PEM", id="no key"),
        pytest.param(PLAIN[:70], "is no private key in PEM", id="cut off"),
        pytest.param(
            pem(BestAvailableEncryption(b"hunter2")),
            "has a passphrase; take it off",
            id="encrypted",
        ),
        pytest.param(CURVE, "is neither an RSA nor an Ed25519 key", id="other kind"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_by_its_place(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "key.pem").write_bytes(content)

    assert refused(tmp_path, f"timezone: UTC\n{FILE}") == [
        f"2: source.api_key.private_key: {problem}"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{private_key_file: key.pem}", "id: is missing"),
        (
            "{id: 'a b', private_key_file: key.pem}",
            'id: "a b" is no id of a key: it holds a blank or a special character',
        ),
    ],
)
def test_a_key_has_an_id(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "key.pem").write_bytes(PLAIN)

    assert refused(tmp_path, f"source: {{api_key: {text}}}") == [f"1: source.api_key.{problem}"]
