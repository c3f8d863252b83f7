from pathlib import Path

import pytest

from notifier.errors import ConfigError
from notifier.settings import find


def make(*parts: str | Path) -> Path:
    path = Path(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_the_first_place_that_has_a_file_wins(tmp_path: Path) -> None:
    cwd, home, xdg = tmp_path / "cwd", tmp_path / "home", tmp_path / "xdg"
    cwd.mkdir()
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": str(xdg)}
    places = [
        make(xdg, "notifier", "notifier.yaml"),
        make(cwd, "config", "notifier.yaml"),
        make(cwd, "notifier.yaml"),
    ]

    found = []
    for place in reversed(places):
        found.append(find(None, environ, cwd=cwd))
        place.unlink()

    assert found == [*reversed(places)]


@pytest.mark.parametrize("xdg", [{}, {"XDG_CONFIG_HOME": "xdg"}], ids=["unset", "relative"])
def test_home_serves_without_an_absolute_xdg_folder(tmp_path: Path, xdg: dict[str, str]) -> None:
    make(tmp_path, "xdg", "notifier", "notifier.yaml")
    path = make(tmp_path, ".config", "notifier", "notifier.yaml")

    assert find(None, {"HOME": str(tmp_path), **xdg}, cwd=tmp_path) == path


def test_no_file_anywhere_is_no_error(tmp_path: Path) -> None:
    if Path("/etc/notifier/notifier.yaml").exists():
        pytest.skip("this machine has a configuration of its own")

    assert find(None, {}, cwd=tmp_path) is None


def test_an_explicit_file_beats_the_variable_and_counts_from_here(
    tmp_path: Path,
) -> None:
    mine, other = make(tmp_path, "a", "mine.yaml"), make(tmp_path, "notifier.yaml")
    environ = {"NOTIFIER_CONFIG": str(other)}

    assert find(Path("a/mine.yaml"), environ, cwd=tmp_path) == mine
    assert find(None, environ, cwd=tmp_path) == other


@pytest.mark.parametrize(
    ("explicit", "environ", "by"),
    [
        (Path("nope.yaml"), {}, "--config"),
        (None, {"NOTIFIER_CONFIG": "nope.yaml"}, "NOTIFIER_CONFIG"),
    ],
)
def test_a_file_that_was_asked_for_must_be_there(
    tmp_path: Path, explicit: Path | None, environ: dict[str, str], by: str
) -> None:
    make(tmp_path, "notifier.yaml")

    with pytest.raises(ConfigError) as refused:
        find(explicit, environ, cwd=tmp_path)

    assert refused.value.problems == (f"{by}: {tmp_path}/nope.yaml does not exist",)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*/notifier\.yaml"):
        find(tmp_path, {}, cwd=tmp_path)


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    path = make(tmp_path, "notifier.yaml")

    assert find(None, {"NOTIFIER_CONFIG": ""}, cwd=tmp_path) == path
