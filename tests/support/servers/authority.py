"""A certificate authority for tests."""

import ssl
from functools import cached_property

import trustme


class Authority:
    """One authority; its keys take a moment to make."""

    def __init__(self, *names: str) -> None:
        self._ca = trustme.CA()
        self._names = names or ("127.0.0.1", "localhost")

    @cached_property
    def server(self) -> ssl.SSLContext:
        """The context of a server on loopback."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*self._names).configure_cert(context)
        return context

    @cached_property
    def client(self) -> ssl.SSLContext:
        """The context of a client that trusts this authority too."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    @property
    def certificate(self) -> bytes:
        """The authority's certificate in PEM."""
        return self._ca.cert_pem.bytes()

    def playing(self, name: str) -> ssl.SSLContext:
        """The context of a server that pretends to be another host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context
