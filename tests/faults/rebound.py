"""`python -m faults.rebound`: the service, for whom a name means this machine."""

import socket
import sys
from typing import Any

from notifier import cli

NAME = "rebound.example"


def main() -> None:
    """Be the service in the current folder."""
    plain, names = socket.getaddrinfo, {NAME, NAME.encode()}

    def look_up(host: Any, *more: Any, **named: Any) -> Any:
        return plain("127.0.0.1" if host in names else host, *more, **named)

    socket.getaddrinfo = look_up
    sys.argv = ["notifier", "run"]
    cli.main()


if __name__ == "__main__":
    main()
