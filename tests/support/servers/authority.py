"""A certificate authority for tests: issues for loopback, and can be trusted."""

import ssl
from functools import cached_property

import trustme


class Authority:
    """One authority; make one per test module, its keys take a moment."""

    def __init__(self, *names: str) -> None:
        self._ca = trustme.CA()
        self._names = names or ("127.0.0.1", "localhost")

    @cached_property
    def server(self) -> ssl.SSLContext:
        """What a server on loopback presents itself with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*self._names).configure_cert(context)
        return context

    @cached_property
    def client(self) -> ssl.SSLContext:
        """What a client trusts this authority, and no other, with."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    @property
    def certificate(self) -> bytes:
        """What it is trusted by, as a file has it."""
        return self._ca.cert_pem.bytes()

    def playing(self, name: str) -> ssl.SSLContext:
        """What a server presents itself with that plays another host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context
