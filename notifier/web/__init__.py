"""
EDGE to people: the dashboard, the API, feeds, metrics and health.

    server    composition, and uvicorn on a bound socket
    app       routes and middleware; auth, middleware: what a request passes first
    context   what pages and API work with; reader: their reads of the store
    api       JSON for programs; schemas: query strings and OpenAPI; stream: new events
    pages/    HTML for people
    feeds     calendars and feed readers
    prometheus
"""
