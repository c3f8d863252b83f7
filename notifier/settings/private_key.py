"""A key that requests can be signed with: checked here, used by the source."""

from notifier.settings.values import Unreadable


def private_key(value: str) -> str:
    """A private key in PEM, RSA or Ed25519 and without a passphrase, as written."""
    # Few have a key, and the import takes a tenth of a second.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415 - see above

    try:
        key = serialization.load_pem_private_key(value.encode(), password=None)
    except TypeError:
        raise Unreadable("has a passphrase; take it off") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unreadable("is no private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise Unreadable("is neither an RSA nor an Ed25519 key")
    return value
