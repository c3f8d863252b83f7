import subprocess
import sys
from pathlib import Path

import pytest

from notifier.errors import ConfigError
from notifier.settings import load, load_store

BROKEN = """\
destinations: {ops: {url: "${NOT_SET}", nonsense: 1}}
source: {poll_every: 30}
"""


def store(text: str, tmp_path: Path, **environ: str) -> str:
    path = tmp_path / "notifier.yaml"
    path.write_text(text)
    return load_store(path, environ, cwd=Path("/elsewhere"))


def refused(text: str, tmp_path: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        store(text, tmp_path, **environ)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "sqlite:///{folder}/notifier.db"),
        ("store: sqlite:///a/b.db", "sqlite:///{folder}/a/b.db"),
        ("store: sqlite:////var/n.db", "sqlite:////var/n.db"),
        ('store: "sqlite:///${NAME:-fallback}.db"', "sqlite:///{folder}/fallback.db"),
        ('store: "sqlite:///${SET}.db"', "sqlite:///{folder}/x.db"),
    ],
)
def test_a_relative_store_counts_from_the_files_folder(tmp_path: Path, text: str, url: str) -> None:
    found = store(text, tmp_path, SET="x")

    assert found == url.format(folder=tmp_path)
    assert load(tmp_path / "notifier.yaml", {"SET": "x"}, cwd=tmp_path).store == found


def test_without_a_file_the_store_is_in_the_working_folder(tmp_path: Path) -> None:
    assert load_store(None, {}, cwd=tmp_path) == f"sqlite:///{tmp_path}/notifier.db"


def test_the_variable_beats_the_file_and_even_a_broken_one(tmp_path: Path) -> None:
    url = store("a: [", tmp_path, NOTIFIER_STORE="sqlite:///x.db")

    assert url == f"sqlite:///{tmp_path}/x.db"
    assert store("", tmp_path, NOTIFIER_STORE="") == f"sqlite:///{tmp_path}/notifier.db"


def test_no_other_key_is_looked_at(tmp_path: Path) -> None:
    url = store(BROKEN + "store: sqlite:///x.db\nlog: 1\nlog: 2\n", tmp_path)

    assert url == f"sqlite:///{tmp_path}/x.db"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nstore: sqlite:///${X}.db", ":2: store: ${X} is not set"),
        ("store: sqlite:///a.db\nstore: b", ":2: store: is set twice, first at "),
        ("store: [", ":1: is not YAML"),
        ("- store", ":1: must be a mapping of keys to values"),
        ("store:", ":1: store: has no value"),
        ("store: {a: b}", ":1: store: must be a single value"),
        ("store: notifier.db", ":1: store: is not a store such as"),
        ("store: mysql://root:hunter2@x/y", ":1: store: is not a store such as"),
        ("store: 'sqlite:///:memory:'", ":1: store: must name a file"),
        ("store: sqlite:///", ":1: store: must name a file"),
        ("store: sqlite:////var/", ":1: store: must name a file"),
        ("store: sqlite:///a.db?mode=ro", ":1: store: must be a path alone"),
        ("store: sqlite:///~/a.db", ":1: store: must spell the path out"),
        (
            "store: postgresql://u:hunter2@x/y",
            ":1: store: PostgreSQL is not available yet",
        ),
    ],
)
def test_a_store_that_cannot_be_is_refused_by_both_readers(
    tmp_path: Path, text: str, problem: str
) -> None:
    (only,) = refused(text, tmp_path)

    assert only.startswith(f"{tmp_path}/notifier.yaml{problem}")
    assert "hunter2" not in only
    with pytest.raises(ConfigError) as whole:
        load(tmp_path / "notifier.yaml", {}, cwd=tmp_path)
    assert problem.removeprefix(":1: ") in str(whole.value)


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    (problem,) = refused("", tmp_path, NOTIFIER_STORE="postgresql://u:hunter2@x/y")

    assert problem == "NOTIFIER_STORE: store: PostgreSQL is not available yet"


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_store(tmp_path / "nope.yaml", {}, cwd=tmp_path)


def test_reading_the_store_alone_loads_nothing_heavy() -> None:
    code = (
        "import sys, pathlib, notifier.settings as c\n"
        "c.load_store(None, {}, cwd=pathlib.Path('/tmp'))\n"
        "heavy = {'pydantic', 'apprise', 'sqlalchemy', 'httpx', 'jinja2'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
