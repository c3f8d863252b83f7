from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_samples import MOVED, NOW, START, event, milestone

from notifier.domain.models import Kind
from notifier.messages.cloudevents import cloudevent, link, overview


@pytest.mark.parametrize("kind", list(Kind))
def test_an_event_keeps_its_words_and_bytes_for_machines(kind: Kind) -> None:
    raw = milestone(title="<b>\u202e@here", message="a\nb")
    rendered = cloudevent(event(kind, raw, at=START, changes=(MOVED,)))

    assert rendered.id == f"evt_{kind.value}_a852dcb8"
    assert rendered.type == f"kalshi.milestone.{kind.value}"
    assert rendered.subject == "a852dcb8"
    assert (rendered.title, rendered.message) == ("<b>\u202e@here", "a\nb")
    assert rendered.changes == (MOVED,)
    assert rendered.milestone == raw.raw
    assert not rendered.test


def test_a_started_event_happened_at_its_start_and_others_when_seen() -> None:
    late = START - timedelta(hours=3)

    assert cloudevent(event(Kind.STARTED, at=late)).time == late
    assert cloudevent(event(Kind.ENDED, at=late)).time == NOW


def test_an_event_names_those_that_it_supersedes() -> None:
    rendered = cloudevent(replace(event(Kind.UPDATED), supersedes=("evt_1",)), test=True)

    assert rendered.supersedes == ("evt_1",)
    assert rendered.test


@pytest.mark.parametrize(
    ("tickers", "address"),
    [
        (("KXNFL-26-A", "X"), "https://kalshi.com/markets/kxnfl/KXNFL-26-A"),
        (("SIMNBAGAME",), "https://kalshi.com/markets/simnbagame/SIMNBAGAME"),
        (
            ("a/../b?c#d",),
            "https://kalshi.com/markets/a%2F..%2Fb%3Fc%23d/a%2F..%2Fb%3Fc%23d",
        ),
        ((), None),
        (("",), None),
        (("K" * 1000,), None),
    ],
)
def test_a_link_leads_to_the_markets_page(tickers: tuple[str, ...], address: str | None) -> None:
    assert link(milestone(tickers=tickers), None) == address


def test_our_own_pages_go_before_kalshis() -> None:
    ours = "https://n.example.com/sub (1)/"

    assert link(milestone(name="a/b"), ours) == (
        "https://n.example.com/sub%20%281%29/milestones/a%2Fb"
    )
    assert overview(ours) == "https://n.example.com/sub%20%281%29/"
    assert overview(None) == "https://kalshi.com/"


@given(st.text(min_size=1, max_size=120))
def test_no_ticker_leads_anywhere_else(ticker: str) -> None:
    address = link(milestone(tickers=(ticker,)), None)

    assert address is not None
    parts = urlsplit(address)
    assert parts.netloc == "kalshi.com"
    assert parts.path.startswith("/markets/")
    assert (parts.query, parts.fragment) == ("", "")
    assert not set(address) & set(" ()<>[]*\"'\\`")
