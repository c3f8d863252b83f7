"""A configuration written as text, read, and what is said against it."""

from pathlib import Path

import pytest

from notifier.errors import ConfigError
from notifier.settings import load
from notifier.settings.models import Settings


def configure(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "notifier.yaml"
    path.write_text(text)
    return load(path, environ, cwd=folder)


def refused(folder: Path, text: str, **environ: str) -> list[str]:
    """The problems, with the name of the file cut off."""
    with pytest.raises(ConfigError) as caught:
        configure(folder, text, **environ)
    file = f"{folder}/notifier.yaml:"
    return [problem.removeprefix(file) for problem in caught.value.problems]
