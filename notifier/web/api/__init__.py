"""JSON for programs, under `/api/v1`."""

from notifier.web.api.routes import api

__all__ = ["api"]
