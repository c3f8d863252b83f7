"""
Real servers on loopback for tests: they run in threads, so async tests may use
them as plain context managers.

    with http_sink() as sink:
        sink.answer("/hook", Answer(503, headers={"Retry-After": "7"}), Answer(204))
        ...
        assert sink.requests[0].json == {...}

* http_sink    HTTP and HTTPS, with every way to misbehave
* smtp_sink    SMTP with STARTTLS, logins and replies per recipient
* authority    a certificate authority of our own, for both ends
"""
