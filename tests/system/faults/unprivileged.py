"""`python -m faults.unprivileged`: the service, for whom modes of files hold."""

import os
import shutil
import sys

#: What root has, and nobody else.
_WITHOUT = "-dac_override,-dac_read_search"


def is_possible() -> bool:
    """Whether we see what it does not, and can start it."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None


def main() -> None:
    """Be the service in the current folder."""
    less = ["--bounding-set", _WITHOUT, "--inh-caps", _WITHOUT]
    service = [sys.executable, "-m", "notifier", "run"]
    os.execvp("setpriv", ["setpriv", *less, "--", *service])


if __name__ == "__main__":
    main()
