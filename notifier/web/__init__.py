"""
EDGE to people: the dashboard, the API, the feeds, metrics and health.

    serve    a socket, uvicorn, and the end of both
    app      which path leads where; what stands before all of them
    guard    hosts, origins, sizes and headers; door: who is let in
    api/     JSON for programs, and the stream of events
    pages/   HTML for people
    feeds/   calendars and feed readers
    metrics  for Prometheus

`ports` has what all of them are handed: they know the store, the sender and the
loops only through it.
"""
