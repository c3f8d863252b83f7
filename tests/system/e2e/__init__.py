"""Whole processes on loopback: the API, the sinks, and the service."""
