"""Pinned versions, the image, and the pages that forges look for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from notifier import __version__

ROOT = Path(__file__).parents[3]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def _project() -> dict[str, list[str]]:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    run = project["dependencies"]
    return {
        ".ci/requirements.txt": run,
        ".ci/requirements-dev.txt": [*run, *project["optional-dependencies"]["dev"]],
    }


def _pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)", text(name), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("name", sorted(_project()))
def test_every_dependency_is_pinned_as_the_project_allows(name: str) -> None:
    pins = _pins(name)

    wrong = [
        str(wanted)
        for wanted in map(Requirement, _project()[name])
        if pins.get(canonicalize_name(wanted.name), "0") not in wanted.specifier
    ]

    assert not wrong


@pytest.mark.parametrize("name", [*sorted(_project()), ".ci/requirements-supply.txt"])
def test_every_pin_carries_hashes_and_no_address(name: str) -> None:
    listed = text(name)

    blocks = re.split(r"^(?=[a-z])", listed, flags=re.MULTILINE)[1:]

    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in listed


def test_tests_run_on_the_versions_that_are_deployed() -> None:
    run, dev = _pins(".ci/requirements.txt"), _pins(".ci/requirements-dev.txt")

    assert run.items() <= dev.items()


def test_people_get_the_versions_that_are_tested() -> None:
    assert _pins("constraints.txt") == _pins(".ci/requirements-dev.txt")


def test_the_version_stands_everywhere_alike() -> None:
    assert tomllib.loads(text("pyproject.toml"))["project"]["version"] == __version__
    assert f"\n## [{__version__}]" in text("CHANGELOG.md")
    assert f'org.opencontainers.image.version="{__version__}"' in text("Dockerfile")


# --- the image ----------------------------------------------------------------


def _instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE))
    return [
        (word, rest.strip())
        for line in joined.splitlines()
        if line.strip()
        for word, _, rest in [line.partition(" ")]
    ]


def _final() -> list[tuple[str, str]]:
    """The instructions of the last stage: the image itself."""
    all_of_them = _instructions()
    last = max(i for i, (word, _) in enumerate(all_of_them) if word == "FROM")
    return all_of_them[last:]


def test_the_image_runs_as_the_user_that_kubernetes_expects() -> None:
    users = [rest for word, rest in _final() if word == "USER"]

    assert users == ["10001:10001"]
    assert "runAsUser: 10001" in text("config/k8s.yaml")
    assert "runAsGroup: 10001" in text("config/k8s.yaml")


def test_the_image_keeps_its_data_in_a_volume_and_checks_itself() -> None:
    final = _final()

    assert ("VOLUME", '["/data"]') in final
    assert ("STOPSIGNAL", "SIGTERM") in final
    assert ("ENTRYPOINT", '["notifier"]') in final
    assert any(
        word == "HEALTHCHECK" and rest.endswith('CMD ["notifier", "healthcheck"]')
        for word, rest in final
    )
    environment = " ".join(rest for word, rest in final if word == "ENV")
    assert "NOTIFIER_STORE=sqlite:////data/notifier.db" in environment


def test_the_image_is_built_from_pinned_parts_and_holds_no_tools() -> None:
    bases = [rest for word, rest in _instructions() if word == "FROM"]
    runs = [rest for word, rest in _instructions() if word == "RUN"]

    assert all(re.match(r"python:3\.1[1-3]-slim-[a-z]+\b", base) for base in bases)
    installs = [run for run in runs if re.search(r"\bpip\b.* install ", run)]
    assert len(installs) == 3
    assert all("--require-hashes" in run or "--no-deps" in run for run in installs)
    assert not [run for word, run in _final() if word == "RUN" and "pip" in run]


def test_the_image_holds_no_secret_and_nothing_of_the_clone() -> None:
    assert not [word for word, _ in _instructions() if word in {"ARG", "ADD"}]
    left_out = text(".dockerignore").split()

    assert left_out[0] == "*"
    assert {one.removeprefix("!") for one in left_out if one[0] == "!"} == {
        *("pyproject.toml", "README.md", "notifier", ".ci/requirements.txt"),
        ".ci/requirements-dev.txt",
    }


def test_forges_find_how_to_report_a_vulnerability_and_which_versions_are_mended() -> None:
    page = text("docs/SECURITY.md")

    assert "\n## Reporting a vulnerability\n" in page
    assert "\n### Secrets\n" in page
    assert f"\n| {__version__.rpartition('.')[0]} | yes" in page
