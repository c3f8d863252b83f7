"""WHEN it happens: the loops of the service."""
