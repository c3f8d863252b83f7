"""
The web: dashboard, API, feeds, metrics and health over HTTP.

    listen      the listening socket, bound before the workers start
    server      composition of the web, and uvicorn
    app         routes and middleware; error handlers
    middleware  security headers, trusted hosts, same-origin writes, body limit
    auth        password, sessions, tokens
    reader      queries with a time limit and a cache
    pages/      HTML for people, with `filters`, `charts`, `templates/` and `static/`
    api         JSON for programs; `schemas` describes it, `stream` sends new events
    feeds       calendars, Atom and JSON feeds
    prometheus  metrics
"""
