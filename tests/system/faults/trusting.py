"""`python -m faults.trusting`: the service, which trusts one more authority."""

import os
from pathlib import Path

from faults import rebound

#: The authority's certificate, in the current folder.
AUTHORITY = "authority.pem"


def main() -> None:
    """Be the service in the current folder."""
    os.environ["SSL_CERT_FILE"] = str(Path.cwd() / AUTHORITY)
    os.environ["NO_PROXY"] = "*"
    rebound.main()


if __name__ == "__main__":
    main()
