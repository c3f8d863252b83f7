import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from notifier.domain.models import Json
from notifier.domain.rules import Watch
from notifier.errors import ConfigError
from notifier.settings import init_text, load, schema
from notifier.workers.watchdog import STALLED_S

FOLDER = Path(__file__).parents[3] / "config"
EXAMPLE = FOLDER / "notifier.yaml"
NAMED = {
    "SLACK_URL": "slack://a/b/c",
    "MAIL_URL": "mailtos://user:secret@example.com",
    "WEBHOOK_SECRET": "whsec_1",
}


def documents(name: str) -> list[dict[str, Json]]:
    return [*YAML(typ="safe", pure=True).load_all((FOLDER / name).read_text())]


def at(value: Json, *path: str) -> Json:
    """What stands at a path of a document."""
    for part in path:
        if isinstance(value, Mapping):
            value = value[part]
        else:
            assert isinstance(value, Sequence)
            value = value[int(part)]
    return value


def keys(node: Json) -> Iterator[str]:
    """Every key that a JSON Schema knows."""
    if isinstance(node, Mapping):
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            yield from properties
        for value in node.values():
            yield from keys(value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from keys(value)


# --- the annotated example ----------------------------------------------------


def test_the_example_loads_with_the_variables_that_it_names() -> None:
    config = load(EXAMPLE, NAMED, cwd=Path("/"))

    assert [d.name for d in config.destinations] == ["ops", "desk", "hook", "terminal"]
    assert [r.name for r in config.routes] == [
        *("games", "moved", "every-morning", "everything-else"),
    ]
    assert config.routes[0].reminders == (timedelta(days=1), timedelta(minutes=15))


def test_the_example_names_every_variable_that_it_needs() -> None:
    with pytest.raises(ConfigError) as refused:
        load(EXAMPLE, {}, cwd=Path("/"))

    assert [re.findall(r"\$\{(\w+)\} is not set", p) for p in refused.value.problems] == [
        ["SLACK_URL"],
        ["MAIL_URL"],
        ["WEBHOOK_SECRET"],
    ]


@pytest.mark.parametrize("key", sorted({*keys(schema())} - {"password", "private_key"}))
def test_the_example_shows_every_key(key: str) -> None:
    assert re.search(rf"\b{key}\b", EXAMPLE.read_text())


def test_the_values_of_the_example_are_the_defaults_where_it_says_so(
    tmp_path: Path,
) -> None:
    shown = load(EXAMPLE, NAMED, cwd=Path("/"))
    default = load(None, {}, cwd=tmp_path)

    assert shown.log == default.log
    assert shown.retention == default.retention
    assert shown.routes[0].ignore_changes == default.routes[0].ignore_changes
    for name in (
        *("base_url", "poll_every", "sweep_every", "full_read_every", "look_back"),
        *("rate", "timeout", "updates", "ignore_tickers", "announce_existing"),
        *("started_grace", "ended_grace", "started_again_after"),
    ):
        assert getattr(shown.source, name) == getattr(default.source, name)


# --- init ---------------------------------------------------------------------


def test_what_init_writes_works_at_once(tmp_path: Path) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_text(init_text())

    config = load(path, {}, cwd=tmp_path)

    assert config.source.watches == (Watch(),)
    assert [d.url for d in config.destinations] == ["terminal://"]
    assert config.routes[0].to == ("terminal",)


def test_what_init_writes_works_with_its_comments_taken_away(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^(\s*)# (?=\s*(?:[a-z_]+:|- ))", r"\1", init_text())
    (tmp_path / "mail").write_text("mailtos://x")
    path = tmp_path / "notifier.yaml"
    path.write_text(text.replace("/run/secrets/mail", "mail"))
    environ = {f"SLACK_TOKEN_{part}": part for part in "ABC"}

    config = load(path, {**environ, "WEBHOOK_SECRET": "x"}, cwd=tmp_path)

    assert [d.name for d in config.destinations] == ["terminal", "team", "desk", "hook"]
    assert [route.name for route in config.routes] == ["football", "rest"]
    assert config.source.watch == (
        Watch(category="Sports", type="football_game"),
        Watch(category="Elections"),
    )


def test_editors_find_the_schema_beside_both_files() -> None:
    modeline = "# yaml-language-server: $schema=notifier.schema.json\n"

    assert init_text().startswith(modeline)
    assert EXAMPLE.read_text().startswith(modeline)


# --- the schema ---------------------------------------------------------------


def test_the_schema_beside_the_example_is_the_programs_own() -> None:
    """If not: `notifier schema > config/notifier.schema.json`."""
    assert json.loads((FOLDER / "notifier.schema.json").read_text()) == schema()


def test_the_schema_describes_every_key() -> None:
    defs = at(schema(), "$defs")
    assert isinstance(defs, Mapping)

    for name, shape in {"": schema(), **defs}.items():
        properties = at(shape, "properties")
        assert isinstance(properties, Mapping)
        for key, value in properties.items():
            assert isinstance(value, Mapping)
            target = str(value.get("$ref", "")).removeprefix("#/$defs/")
            described = "description" in value or "description" in str(defs.get(target))
            assert described, (name, key)


def test_the_schema_refuses_what_the_program_refuses() -> None:
    assert at(schema(), "additionalProperties") is False
    every = str(at(schema(), "$defs", "SourceSettings", "properties", "poll_every", "pattern"))

    assert re.search(every, "30s")
    assert re.search(every, "${EVERY}")
    assert not re.search(every, "30")


# --- deployment ---------------------------------------------------------------


def test_the_configuration_for_kubernetes_loads(tmp_path: Path) -> None:
    (tmp_path / "slack").write_text("slack://a/b/c")
    (config, _, _) = documents("k8s.yaml")
    path = tmp_path / "notifier.yaml"
    text = str(at(config, "data", "notifier.yaml"))
    path.write_text(text.replace("/secrets/", f"{tmp_path}/"))

    assert load(path, {}, cwd=tmp_path).destinations[0].name == "team"


def test_kubernetes_runs_one_instance_that_may_drain_and_do_little_else() -> None:
    (_, _, deployment) = documents("k8s.yaml")
    pod = at(deployment, "spec", "template", "spec")
    container = at(pod, "containers", "0")

    assert at(deployment, "spec", "replicas") == 1
    assert at(deployment, "spec", "strategy", "type") == "Recreate"
    assert at(pod, "terminationGracePeriodSeconds") == 35
    assert at(pod, "securityContext", "runAsNonRoot") is True
    assert at(container, "securityContext") == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for probe in ("startupProbe", "livenessProbe"):
        assert at(container, probe, "exec", "command") == ["notifier", "healthcheck"]


def test_compose_lets_it_drain_and_do_little_else() -> None:
    (compose,) = documents("compose.yaml")
    service = at(compose, "services", "notifier")

    assert at(service, "stop_grace_period") == "35s"
    assert at(service, "read_only") is True
    assert at(service, "cap_drop") == ["ALL"]
    assert at(service, "security_opt") == ["no-new-privileges:true"]
    assert at(service, "healthcheck", "test") == ["CMD", "notifier", "healthcheck"]


def _uncommented(name: str) -> list[dict[str, Json]]:
    """The documents of a file, with the lines for the dashboard in force."""
    text = (FOLDER / name).read_text()
    keys = (
        r"NOTIFIER_WEB|- web$|---|"
        r" *(?:web|listen|password_file|hosts|ports|selector|name|labels):|"
        r"(?:apiVersion|kind|metadata|spec):"
    )
    shown = re.sub(rf"(?m)^( *)# (?={keys})", r"\1", text)
    return [*YAML(typ="safe", pure=True).load_all(shown)]


def test_the_dashboard_of_compose_takes_no_more_than_its_commented_lines(
    tmp_path: Path,
) -> None:
    (compose,) = _uncommented("compose.yaml")
    service = at(compose, "services", "notifier")
    (tmp_path / "web").write_text("hunter2")
    given = at(service, "environment")
    assert isinstance(given, dict)
    environ = {
        name: str(value).replace("/run/secrets/", f"{tmp_path}/")
        for name, value in given.items()
        if name.startswith("NOTIFIER_WEB")
    }
    web = load(None, environ, cwd=tmp_path).web

    assert web is not None
    assert (web.listen, web.password) == (("0.0.0.0", 8080), "hunter2")
    assert web.hosts == ("notifier",)
    assert at(service, "ports") == ["127.0.0.1:8080:8080"]
    assert at(service, "secrets") == ["slack", "web"]
    assert at(compose, "secrets", "web") == {"file": "./secrets/web"}


def test_nor_does_that_of_kubernetes(tmp_path: Path) -> None:
    config, _, deployment, front = _uncommented("k8s.yaml")
    path = tmp_path / "notifier.yaml"
    text = str(at(config, "data", "notifier.yaml"))
    path.write_text(text.replace("/secrets/", f"{tmp_path}/"))
    (tmp_path / "slack").write_text("slack://a/b/c")
    (tmp_path / "web").write_text("hunter2")
    web = load(path, {}, cwd=tmp_path).web
    container = at(deployment, "spec", "template", "spec", "containers", "0")

    assert web is not None
    assert (web.listen, web.password) == (("0.0.0.0", 8080), "hunter2")
    assert web.hosts[0] == at(front, "metadata", "name")
    assert at(container, "ports") == [{"name": "http", "containerPort": web.address[1]}]
    assert at(front, "spec", "selector") == at(deployment, "spec", "selector", "matchLabels")


def test_systemd_restarts_it_unless_the_configuration_is_wrong() -> None:
    unit = (FOLDER / "systemd" / "milestone-notifier.service").read_text().splitlines()

    assert {"Restart=always", "RestartPreventExitStatus=78"} <= {*unit}
    assert {"TimeoutStopSec=30s", "DynamicUser=yes", "StateDirectory=notifier"} <= {*unit}


def test_systemd_is_told_of_readiness_and_waits_longer_than_a_loop_may_stand() -> None:
    unit = (FOLDER / "systemd" / "milestone-notifier.service").read_text()
    (patience,) = re.findall(r"(?m)^WatchdogSec=([0-9]+)$", unit)

    assert "\nType=notify\nNotifyAccess=main\n" in unit
    assert int(patience) > STALLED_S
