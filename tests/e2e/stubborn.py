"""`python -m e2e.stubborn`: the service that waits for another program for ever."""

from notifier.cli import main
from notifier.store import files

if __name__ == "__main__":
    files.PATIENCE = 10**9
    # It asks often whether the other one has let go.
    files._PRAGMAS["busy_timeout"] = "50"
    main()
