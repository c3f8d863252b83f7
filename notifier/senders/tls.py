"""Whom we trust, loaded once: it takes tens of milliseconds."""

import ssl

import certifi


def trusting() -> ssl.SSLContext:
    """A context that trusts the system's authorities and the well-known ones."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def unverified() -> ssl.SSLContext:
    """A context for destinations with `verify=no`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
