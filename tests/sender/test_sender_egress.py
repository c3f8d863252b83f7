"""Which addresses are connected to."""

import pytest
from sending import authority, destination, opened, rendered
from servers.http_sink import http_sink
from servers.smtp_sink import smtp_sink

from notifier.core.model import Refused, Scope
from notifier.sender.egress import anywhere

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.1", "fd12::1", "1.1.1.1"]
)
def test_loopback_private_and_public_addresses_may_be_reached(address: str) -> None:
    assert anywhere(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
    ],
)
def test_link_local_and_metadata_addresses_are_never_reached(address: str) -> None:
    assert not anywhere(address)


@pytest.mark.parametrize(
    "form",
    [
        "json://{http}/in",
        "jsons://{https}/in",
        "webhook://{http}/in",
        "webhooks://{https}/in",
        "mailto://{smtp}?from=us@example.com&to=ann@example.com",
    ],
)
async def test_nothing_is_sent_to_an_address_that_may_not_be_reached(form: str) -> None:
    with (
        http_sink() as http,
        http_sink(tls=authority()) as https,
        smtp_sink() as smtp,
    ):
        url = form.format(http=http.netloc, https=https.netloc, smtp=smtp.netloc)
        async with opened(destination(url), may_reach=lambda _: False) as sender:
            outcome = await sender.send("ops", rendered())

        assert outcome == Refused(
            reason="its address may not be connected to", scope=Scope.DESTINATION
        )
        assert http.requests == https.requests == []
        assert smtp.mails == []
