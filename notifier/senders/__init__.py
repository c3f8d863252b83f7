"""
The senders: a rendered message goes to a named destination, an outcome comes back.

* sender             `open_sender`, `check`: destinations by name, a channel for each URL
* terminal           channel: writes to the standard output
* webhook            URLs and bodies of webhooks; pure
* webhook_channel    channel: posts webhooks by aiohttp
* registry           the plugin of Apprise for a URL
* apprise_channel    channel: calls a plugin of Apprise in a worker thread
* apprise_http       HTTP of the plugins, observed
* apprise_smtp       SMTP of the e-mail plugin, observed
* attempt            the record of one attempt
* outcomes           from the record to the outcome; pure
* service_errors     error codes of single services; pure
* egress_guard       which addresses are connected to
* redaction          the secrets in URLs, and their removal from texts
* heartbeat          requests that show a dead man's switch a live service
"""
