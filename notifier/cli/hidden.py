"""What no log and no screen may show of a configuration."""

import os

from notifier.senders.redaction import secrets_of_environment, secrets_of_text, secrets_of_url
from notifier.settings.models import Settings


def hidden(config: Settings) -> frozenset[str]:
    """Every secret of it, and of the environment's proxies, in every form."""
    urls = [one.url for one in config.destinations]
    if config.heartbeat_url is not None:
        urls.append(config.heartbeat_url)
    found = [*map(secrets_of_url, urls), secrets_of_environment(os.environ)]
    if (key := config.source.api_key) is not None:
        found += [secrets_of_text(key.id), secrets_of_text(key.private_key)]
    if config.web is not None and config.web.password:
        found.append(secrets_of_text(config.web.password))
    names = {one.name for one in config.destinations}
    # A name that also stands in a URL hides nothing, and is needed to tell them apart.
    return frozenset[str]().union(*found) - names - {one.name for one in config.routes}
