"""`python -m faults.rebound`: the service, for whom names lead to odd places."""

import socket
import sys
from typing import Any

from notifier import cli

#: This machine, and where no message may go.
NAME, FORBIDDEN = "rebound.example", "metadata.example"
_PLACES = {NAME: "127.0.0.1", FORBIDDEN: "169.254.169.254"}


def main() -> None:
    """Be the service in the current folder."""
    plain = socket.getaddrinfo

    def look_up(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return plain(_PLACES.get(name, host), *more, **named)

    socket.getaddrinfo = look_up
    sys.argv = ["notifier", "run"]
    cli.main()


if __name__ == "__main__":
    main()
