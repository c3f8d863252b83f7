"""
The milestone notifier: what happens to Kalshi's milestones, told once to whom it
concerns.

The path, in ten lines:

    cli.run -> config.load -> app.run          builds everything, starts the loops
    poll      page -> known -> diff -> route -> commit        one transaction a page
    alarm     due timers -> events -> route -> commit         needs no API
    deliver   claim -> compose -> render -> send -> settle    compare-and-set on a lease
    maintain  lost leases, retention
    operate   what is wrong -> notices -> send, to the operator
    control   commands, over a socket beside the database

*When* something happens is a loop, at the top. *What* is decided is in `core`, pure.
*How* the world is touched is an edge: `source`, `store`, `sender`.
"""

__version__ = "0.1.0"
