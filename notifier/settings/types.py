"""
The types of keys that only the settings have: addresses, secrets, the store.

Most commands load this module for the store alone, so what costs time is imported where
it is used.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from notifier.domain.parsing import (
    OneOrMany,
    Parser,
    ValueParseError,
    parse_text,
    text_schema,
)
from notifier.domain.suggestions import did_you_mean

Network: TypeAlias = IPv4Network | IPv6Network
_PORTS = {"http": 80, "https": 443}
SQLITE = "sqlite:///"


def _split(value: str) -> SplitResult | None:
    """Return the parts of an address; None: it is none."""
    if re.search(r"[\s\x00-\x1f\\]", value):
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError:
        return None
    return parts


def parse_address(value: str) -> str:
    """Return an http or https address as it is written."""
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueParseError("is not an address that begins with https:// or http://")
    return value


def parse_base_url(value: str) -> str:
    """Return an http or https address that paths can follow, without a slash at its end."""
    url = parse_address(value).rstrip("/")
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueParseError("must end before any ? or #, and hold no user name")
    return url


def parse_site(value: str) -> str:
    """
    Return the address of a site without a path, in the form that browsers send.

    Lower case, IDNA, no default port.
    """
    parts = urlsplit(parse_base_url(value))
    if parts.path:
        raise ValueParseError("must end after the host and port: the pages need the root")
    name = parse_host(parts.hostname or "")
    shown = f"[{name}]" if ":" in name else name
    is_default = parts.port in {None, _PORTS[parts.scheme]}
    return f"{parts.scheme}://{shown}" + ("" if is_default else f":{parts.port}")


def parse_host(value: str) -> str:
    """Return a host name or IP address in the form that browsers send, without a port."""
    try:
        return str(IPv6Address(value.strip("[]")))
    except ValueError:
        pass
    import idna  # noqa: PLC0415 - see the module's docstring

    try:
        name = value.lower() if value.isascii() else str(idna.encode(value, uts46=True), "ascii")
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[a-z0-9._-]+", name):
        raise ValueParseError("is no name of a host; a port is no part of it")
    return name


def parse_network(value: str) -> Network:
    """Parse an IP address or a network such as `10.0.0.0/8`."""
    try:
        network = ip_network(str(value), strict=False)
    except ValueError:
        raise ValueParseError("is no address or network such as 10.0.0.0/8") from None
    if str(network.network_address) != str(ip_address(value.partition("/")[0])):
        raise ValueParseError("is an address within a network", advice=did_you_mean(str(network)))
    return network


def parse_listen(value: str) -> tuple[str, int]:
    """Parse an address and port to listen on: `127.0.0.1:8080`, `[::1]:8080`."""
    parts = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", value)
    if not parts or not 0 < int(parts[2]) < 65536:  # noqa: PLR2004 - TCP's ports
        raise ValueParseError("is not an address and port such as 127.0.0.1:8080")
    return parts[1].strip("[]"), int(parts[2])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listening address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_password(value: str) -> str:
    """Return a password, or the Argon2 hash of one."""
    form = r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
    if value.startswith("$argon2") and not re.fullmatch(form, value):
        raise ValueParseError("begins like an Argon2 hash, but is no whole argon2id hash")
    return parse_text(value)


def parse_key_id(value: str) -> str:
    """Return the id of an API key: one word in a header."""
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueParseError("is no id of a key: it holds a blank or a special character")
    return value


def parse_private_key(value: str) -> str:
    """Return a private key in PEM, RSA or Ed25519 and without a passphrase, as written."""
    # Few configurations have a key, and the import takes a tenth of a second.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415 - see above

    try:
        key = serialization.load_pem_private_key(value.encode(), password=None)
    except TypeError:
        raise ValueParseError("has a passphrase; take it off") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueParseError("is no private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueParseError("is neither an RSA nor an Ed25519 key")
    return value


def parse_store(value: str) -> str:
    """Return the URL of a store."""
    if re.match(r"postgresql(\+\w+)?://.", value):
        raise ValueParseError("PostgreSQL is not available yet")
    if not value.startswith(SQLITE):
        raise ValueParseError("is not a store such as sqlite:///notifier.db")
    path = value.removeprefix(SQLITE)
    if path in {"", "/", ":memory:"} or path.endswith("/"):
        raise ValueParseError("must name a file: sqlite:///notifier.db")
    if re.search(r"[?#\x00-\x1f]", path):
        raise ValueParseError("must be a path alone, without options after a ? or #")
    if path.startswith("~"):
        raise ValueParseError("must spell the path out; ~ is not expanded")
    return value


def absolute_store(value: str, *, folder: Path) -> str:
    """Return the URL of the store with an absolute path; `folder` anchors a relative one."""
    return f"{SQLITE}{folder / value.removeprefix(SQLITE)}"


class TemplateSyntaxProblem(ValueError):
    """A template that does not compile, and on which of its lines."""

    def __init__(self, what: str, *, line: int) -> None:
        super().__init__(what)
        self.line = line


def compile_template(text: str) -> None:
    """
    Compile a template in its sandbox; whether its names exist shows when it is rendered.

    Raises: ValueError, TemplateSyntaxProblem.
    """
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - few configurations have templates

    from notifier.domain.models import Format  # noqa: PLC0415 - likewise
    from notifier.messages.templates import (  # noqa: PLC0415 - likewise
        MAX_SOURCE,
        environment,
    )

    if len(text) > MAX_SOURCE:
        raise ValueError(f"is longer than {MAX_SOURCE:,} characters")
    try:
        environment(Format.TEXT).from_string(text)
    except TemplateSyntaxError as exc:
        reason = (exc.message or "it does not end").rstrip(".")
        what = f"line {exc.lineno} is not Jinja2: {reason}"
        raise TemplateSyntaxProblem(what, line=exc.lineno) from None
    except (RecursionError, MemoryError, SyntaxError):
        # Jinja2 compiles to Python, which nests at most 20 loops.
        raise ValueError("is nested too deeply") from None


def check_egress(url: str, *, only_public: bool) -> None:
    """
    Check an address that a URL names in figures.

    Raises: ValueParseError if it is never connected to.
    """
    from notifier.domain.egress_policy import unreachable  # noqa: PLC0415 - see above

    problem = unreachable(url, only_public=only_public)
    if problem is not None:
        raise ValueParseError(problem)


def _is_reachable(value: str, context: Mapping[str, Any]) -> None:
    context["check_egress"](value)


_HTTP = text_schema("https?://.+")
STORE = Parser(parse_store, text_schema("sqlite:///.+"), secret=True)
Store: TypeAlias = Annotated[str, STORE]
BaseUrl: TypeAlias = Annotated[str, Parser(parse_base_url, _HTTP, secret=True)]
Address: TypeAlias = Annotated[str, Parser(parse_address, _HTTP, secret=True, check=_is_reachable)]
Site: TypeAlias = Annotated[str, Parser(parse_site, _HTTP, secret=True)]
Listen: TypeAlias = Annotated[tuple[str, int], Parser(parse_listen, text_schema(".+:[0-9]+"))]
Password: TypeAlias = Annotated[str, Parser(parse_password, text_schema(), secret=True)]
KeyId: TypeAlias = Annotated[str, Parser(parse_key_id, text_schema())]
PrivateKey: TypeAlias = Annotated[str, Parser(parse_private_key, text_schema(), secret=True)]
Hosts: TypeAlias = Annotated[
    tuple[Annotated[str, Parser(parse_host, text_schema())], ...], OneOrMany()
]
Networks: TypeAlias = Annotated[
    tuple[Annotated[Network, Parser(parse_network, text_schema("[0-9a-fA-F.:/]+"))], ...],
    OneOrMany(),
]
