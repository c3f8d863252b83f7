"""The secrets in the URLs of destinations."""

import pytest

from notifier.senders.redaction import redact, secrets_of_url


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
            ["T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ"],
        ),
        (
            "mailtos://me:pa%24%24word@smtp.example.com?to=you@example.org",
            ["pa%24%24word", "pa$$word", "you@example.org"],
        ),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", ["abcdefg_hijklmnop"]),
        (
            "webhooks://h.example.com/in?secret=whsec_bmV3bmV3,whsec_b2xkb2xk",
            ["whsec_bmV3bmV3", "bmV3bmV3", "whsec_b2xkb2xk", "b2xkb2xk"],
        ),
        (
            "jsons://h.example.com/?%2BAuthorization=Bearer%20SUPER&:k=paywall&-q=quux",
            ["Bearer SUPER", "paywall", "quux"],
        ),
        ("https://hooks.slack.com/services/T0/B0/XYZxyz12345", ["XYZxyz12345"]),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ["4174216298"]),
        ("json://ann:pw1@localhost/long-path-as-token", ["ann", "pw1"]),
        ("terminal://", []),
    ],
)
def test_each_secret_part_of_a_url_is_redacted(url: str, secrets: list[str]) -> None:
    text = f"posting {url} failed; sent " + " and ".join(secrets)

    clean = redact(text, secrets_of_url(url))

    assert all(secret not in clean for secret in secrets)
    assert bool(secrets_of_url(url)) == bool(secrets)


def test_the_longest_secret_is_redacted_first_so_that_no_rest_remains() -> None:
    assert redact("abcdef abc", {"abc", "abcdef"}) == "*** ***"


@pytest.mark.parametrize(
    "word", ["localhost", "example.com", "8080", "verify", "markdown", "webhooks"]
)
def test_a_log_stays_readable(word: str) -> None:
    url = "webhooks://localhost:8080/webhooks?verify=no&format=markdown"

    assert redact(f"about {word}", secrets_of_url(url)) == f"about {word}"
    assert word not in secrets_of_url("json://example.com:8080/hook?format=markdown")
