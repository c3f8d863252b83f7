"""`notifier schema`."""

import json
import sys

from notifier import config
from notifier.cli.ending import DONE


def schema() -> int:
    """Print the JSON Schema of the configuration."""
    sys.stdout.write(json.dumps(config.schema(), indent=2) + "\n")
    return DONE
