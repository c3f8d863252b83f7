"""Commands about the configuration."""

import json
from pathlib import Path

from commanding import typed

BAD = """\
source: {poll_every: 30}
destinations:
  team: {url: "slak://token-that-nobody-sees/x"}
  desk: {url: "${MAIL_URL}"}
routs: []
"""


def test_init_writes_a_configuration_that_check_accepts(tmp_path: Path) -> None:
    written = typed("init", cwd=tmp_path)
    checked = typed("check", cwd=tmp_path)

    assert (written.status, checked.status) == (0, 0)
    assert "`notifier check` " in written.out
    assert "`notifier run` " in written.out
    assert f"{tmp_path}/notifier.yaml" in checked.out
    assert "everything" in checked.out


def test_a_written_configuration_is_for_its_owner_only(tmp_path: Path) -> None:
    typed("init", cwd=tmp_path)

    assert (tmp_path / "notifier.yaml").stat().st_mode & 0o777 == 0o600


def test_init_never_overwrites_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("timezone: UTC\n")

    ended = typed("init", file, cwd=tmp_path)

    assert ended.status == 1
    assert "is there already" in ended.err
    assert file.read_text() == "timezone: UTC\n"


def test_init_writes_no_file_that_is_named_like_an_option(tmp_path: Path) -> None:
    ended = typed("init", "-", cwd=tmp_path)

    assert ended.status == 1
    assert "init writes a file; name it" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_init_elsewhere_says_how_to_use_the_file(tmp_path: Path) -> None:
    ended = typed("init", "my own.yaml", cwd=tmp_path)

    assert "`notifier run --config 'my own.yaml'`" in ended.out


def test_the_schema_is_json(tmp_path: Path) -> None:
    ended = typed("schema", cwd=tmp_path)

    assert "destinations" in json.loads(ended.out)["properties"]


def test_check_says_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text(BAD)

    ended = typed("check", cwd=tmp_path)

    file = tmp_path / "notifier.yaml"
    assert ended.status == 78
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{file}:1: source.poll_every: ")
    assert lines[1] == f"{file}:4: destinations.desk.url: ${{MAIL_URL}} is not set"
    assert lines[2] == f"{file}:5: routs: unknown key; did you mean routes?"
    assert lines[3].startswith(f"{file}:3: destinations.team: unknown scheme slak://")
    assert "nobody-sees" not in ended.err


def test_a_destination_that_cannot_be_sent_to_is_wrong_by_itself(
    tmp_path: Path,
) -> None:
    (tmp_path / "notifier.yaml").write_text('destinations: {a: {url: "slak://x/y"}}\n')

    ended = typed("check", cwd=tmp_path)

    assert ended.status == 78
    assert ended.err.startswith(f"{tmp_path}/notifier.yaml:1: destinations.a: ")


def test_a_service_does_not_start_with_a_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text(BAD)

    ended = typed("run", cwd=tmp_path)

    assert ended.status == 78
    assert len(ended.err.splitlines()) == 3
    assert not (tmp_path / "notifier.db").exists()


def test_check_shows_who_gets_what_without_any_secret(tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text("""\
source: {watch: [{category: Elections}]}
destinations: {hook: {url: "webhooks://example.com/in?secret=${SECRET}"}}
routes:
  - name: races
    match: {events: [started], title: "~governor"}
    to: [hook]
    reminders: [15m]
    stop: true
""")

    ended = typed("check", cwd=tmp_path, SECRET="whsec_bWlsZXN0b25l")

    words = " ".join(ended.out.split())
    assert ended.status == 0
    assert "watched category=Elections" in words
    assert "hook webhooks as it likes UTC" in words
    assert "races hook 15 min started; title: ~governor; and no route after" in words
    assert "bWlsZXN0b25l" not in ended.out


def test_check_shows_when_and_how_each_is_told(tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text("""\
destinations:
  desk:
    url: terminal://
    quiet: {windows: ["Mon-Fri 22:00-07:00", "Sat,Sun 00:00-24:00"], pass: started}
    digest: {over: 5, at: "08:00"}
    on_ambiguous: drop
  ops: {url: terminal://}
  spare: {url: terminal://}
routes:
  - {name: games, to: desk, quiet: off, digest: off}
  - {name: rest, to: desk, quiet: {windows: "22:00-07:00", then: drop}}
operator: {to: ops}
""")

    ended = typed("check", cwd=tmp_path)

    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert ended.status == 0
    assert "operator ops" in lines
    assert (
        "desk terminal as it likes UTC Mon-Fri 22:00-07:00 and Sat,Sun 00:00-24:00, "
        "then deliver, started passes over 5, daily at 08:00 drop" in lines
    )
    assert "ops terminal as it likes UTC off over 10 retry" in lines
    assert "games desk all off off" in lines
    assert "rest desk all 22:00-07:00, dropped at once its destinations'" in lines
    assert ended.err == ("warning: nothing goes to spare: no route names it, nor operator\n")


def test_check_says_that_the_operator_is_nobody(tmp_path: Path) -> None:
    ended = typed("check", cwd=tmp_path)

    assert "nobody: only the log says what is wrong" in ended.out
    assert ended.err == ""


def test_reading_commands_say_that_nothing_has_run_yet(tmp_path: Path) -> None:
    for command in (["events"], ["deliveries"], ["status"], ["explain", "evt_A"]):
        ended = typed(*command, cwd=tmp_path)

        assert ended.status == 1
        assert f"there is no database {tmp_path}/notifier.db" in ended.err
        assert ended.out == ""


def test_a_file_that_is_no_store_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "notifier.db").touch()
    empty = typed("events", cwd=tmp_path)
    (tmp_path / "notifier.db").write_text("something else entirely, and long enough")
    foreign = typed("events", cwd=tmp_path)

    assert (empty.status, foreign.status) == (1, 1)
    assert "holds nothing yet" in empty.err
    assert f"{tmp_path}/notifier.db: file is not a database" in foreign.err


def test_without_a_service_there_is_no_health(tmp_path: Path) -> None:
    ended = typed("healthcheck", cwd=tmp_path)

    assert ended.status == 1
    assert ended.err == f"notifier: no service is running on {tmp_path}/notifier.db\n"
