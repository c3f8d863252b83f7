"""`notifier schema`."""

import json
import sys

from notifier import settings
from notifier.cli.exit_codes import DONE


def schema() -> int:
    """Print the JSON Schema of the configuration."""
    sys.stdout.write(json.dumps(settings.schema(), indent=2) + "\n")
    return DONE
