"""What one key must say because of another."""

import ipaddress
from collections.abc import Iterator

from notifier.domain.egress_policy import anywhere, literal, public
from notifier.domain.match_keys import unknown
from notifier.domain.suggestions import nearest
from notifier.settings.reading import quote
from notifier.settings.settings import Egress
from notifier.settings.tree import (
    Items,
    Node,
    Problem,
    Scalar,
    Table,
    locate,
    select,
    under,
)
from notifier.settings.values import Unreadable, listen

#: The destination that is there when no other is.
TERMINAL = "terminal"
#: Their libraries connect in threads of their own, and again when they like.
_UNWATCHED = frozenset({"mqtt", "mqtts", "xmpp", "xmpps"})


def cross(root: Node) -> Iterator[Problem]:
    """Every contradiction between keys, each at the key that is to be changed."""
    yield from _destinations_without_url(root)
    yield from _key_without_private_key(root)
    yield from _unknown_destinations(root)
    yield from _routes_of_one_name(root)
    yield from _unknown_match_keys(root)
    yield from _days_without_time(root)
    yield from _open_doors(root)
    yield from _out_of_reach(root)


def _destinations_without_url(root: Node) -> Iterator[Problem]:
    for path, node in select(root, "destinations.*"):
        place = locate(root, path)[0]
        if isinstance(node, Table):
            if not {"url", "url_file"} & node.entries.keys():
                yield Problem(place, path, "needs url or url_file")
        elif isinstance(node, Scalar):
            what = "needs url or url_file" if node.empty else "must be {url: ...}"
            yield Problem(place, path, what)


def _key_without_private_key(root: Node) -> Iterator[Problem]:
    for path, node in select(root, "source.api_key"):
        given = node.entries.keys() if isinstance(node, Table) else ()
        if not {"private_key", "private_key_file"} & {*given}:
            what = "needs id and private_key or private_key_file"
            yield Problem(locate(root, path)[0], path, what)


def _unknown_destinations(root: Node) -> Iterator[Problem]:
    known = [str(path[1]) for path, _ in select(root, "destinations.*")] or [TERMINAL]
    for pattern in ("routes.*.to", "operator.to"):
        for path, node in select(root, pattern):
            for item_path, name in _scalars(path, node):
                if name.text not in known and not name.empty:
                    advice = "" if name.foreign else nearest(name.text, known)
                    names = advice or f"there are {', '.join(known)}"
                    what = f"{quote(name)} is no destination; {names}"
                    yield Problem(name.place, item_path, what)


def _scalars(
    path: tuple[str | int, ...], node: Node
) -> Iterator[tuple[tuple[str | int, ...], Scalar]]:
    """The values of a list, or the one that serves as a list of one."""
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, Items):
        for position, item in enumerate(node.nodes):
            if isinstance(item, Scalar):
                yield (*path, position), item


def _routes_of_one_name(root: Node) -> Iterator[Problem]:
    first: dict[str, Scalar] = {}
    for path, node in select(root, "routes.*.name"):
        if not isinstance(node, Scalar):
            continue
        if (earlier := first.setdefault(node.text, node)) is not node:
            what = f"{quote(node)} is the name of the route at {earlier.place} already"
            yield Problem(node.place, path, what)


def _unknown_match_keys(root: Node) -> Iterator[Problem]:
    for path, node in select(root, "routes.*.match"):
        if not isinstance(node, Table):
            continue
        for name, entry in node.entries.items():
            if (what := unknown(name)) is not None:
                yield Problem(entry.place, (*path, name), what)


def _days_without_time(root: Node) -> Iterator[Problem]:
    """How often a digest goes means nothing until its time of day is known."""
    for pattern in ("destinations.*.digest.every", "routes.*.digest.every"):
        for path, _ in select(root, pattern):
            if under(root, (*path[:-1], "at")) is None:
                yield Problem(locate(root, path)[0], path, "needs at")


def _open_doors(root: Node) -> Iterator[Problem]:
    """A dashboard that others can reach needs a password."""
    for path, node in select(root, "web.listen"):
        keys = {str(path[-1]) for path, _ in select(root, "web.*")}
        if not isinstance(node, Scalar) or {"password", "password_file"} & keys:
            continue
        try:
            host, _ = listen(node.text)
        except Unreadable:
            continue
        if not _is_loopback(host):
            what = "others can reach it there; set password_file"
            yield Problem(node.place, path, what)


def _out_of_reach(root: Node) -> Iterator[Problem]:
    """Addresses in figures that nothing will ever be sent to; names may resolve."""
    wish = under(root, ("egress",))
    only_public = isinstance(wish, Scalar) and wish.text == Egress.PUBLIC
    for pattern in ("destinations.*.url", "heartbeat_url"):
        for path, node in select(root, pattern):
            if not isinstance(node, Scalar):
                continue
            what = _unreachable(node.text, only_public=only_public)
            if what is not None:
                yield Problem(locate(root, path)[0], path, what)


def _unreachable(url: str, *, only_public: bool) -> str | None:
    """Why nothing will ever be sent there, as far as the URL tells."""
    scheme = url.partition(":")[0].lower()
    if only_public and scheme in _UNWATCHED:
        return f"egress: public cannot see where {scheme}:// connects to"
    address = literal(url)
    if address is not None and not anywhere(address):
        return "a link-local address, or a cloud's metadata: never connected to"
    if only_public and address is not None and not public(address):
        return "egress: public forbids this address; any allows it"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
