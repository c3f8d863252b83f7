"""`python -m e2e.stubborn`: the service that waits for another program for ever."""

from notifier.cli import main
from notifier.storage import sqlite

if __name__ == "__main__":
    sqlite.PATIENCE = 10**9
    # It asks often whether the other one has let go.
    sqlite._PRAGMAS["busy_timeout"] = "50"
    main()
