"""What every command is given: `--config` and `--log-level`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options that stand before or after a command's name."""

    config: Path | None = None
    #: None: what the configuration says.
    log_level: str | None = None

    def over(self, other: "Given") -> "Given":
        """These options, and the other ones where these are silent."""
        return Given(
            config=other.config if self.config is None else self.config,
            log_level=self.log_level or other.log_level,
        )
