"""Follows a node over WebSocket, through all cuts, as docs/protocol.md describes it."""
from __future__ import annotations

import asyncio
import json
import random
from typing import Any, AsyncIterator, Callable, Dict, Optional, Sequence, Union
from urllib.parse import urlencode

import websockets
from websockets.typing import Subprotocol
from websockets.version import version

from .events import Bookmark, Changes, Continue, Event, Expiring, Failure, ProtocolError, Synced, parse

Token = Union[str, Callable[[], str], None]
"""A token, or a function that returns the present one; it is called for each connection."""

SILENCE_SECONDS = 30
"""A node sends something at least every ten seconds; after this silence the connection is dead."""
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""A batch may be large; the library's own limit of 1 MiB is smaller than a value may be."""
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.1, 10.0
# Another attempt would end in the same way. The node may also answer so before the WebSocket opens.
REFUSED = {4400, 4401, 4403, 4409, 400, 401, 403, 404, 426}
UNAUTHORIZED = {4401, 401}


class FollowError(Exception):
    """No node serves this request: it is wrong, forbidden, or the token is not valid."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.code = code
        """The close code of the WebSocket, or the status of HTTP if the node refused to open it."""


class _Connect(websockets.connect):  # type: ignore[misc, name-defined, unused-ignore]
    """Follows no redirect, because the library would show the token to the other server."""

    MAX_REDIRECTS_ALLOWED = 1  # For websockets up to 13: the number of attempts.

    def process_redirect(self, exc: Exception) -> Exception:
        """For websockets from 14 on: the answer is a failure."""
        return exc


async def follow(
    nodes: Sequence[str],
    prefixes: Sequence[str] = (),
    position: Optional[str] = None,
    token: Token = None,
    report: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Event]:
    """Yields the events of one node after the other, each change once between two resets, until it is closed.

    Store the result of each event before you ask for the next one, and with it the event's position: only then
    does `follow` continue after it. After a cut `Continue` or `Reset` comes; an incomplete snapshot is void then.

    nodes: URLs, as http://HOST:PORT. The next one is tried when one fails.
    position: the position of the stored copy; None: begin with a snapshot.
    report: gets one line about each connection that failed, for a log.
    Raises FollowError if each node refuses the request, and ProtocolError if an event cannot be understood.
    """
    failures = turn = refusals = 0
    refusal, refused_token = FollowError(1006, ""), None
    while True:
        shown = token() if callable(token) else token
        # One node's refusal ends nothing that another one would serve, or the same one with another token.
        may_renew = refusal.code in UNAUTHORIZED and shown != refused_token
        if refusals >= len(nodes) and not may_renew:
            raise refusal
        url, was_served = nodes[turn % len(nodes)], False
        try:
            async with _open(url, prefixes, position, shown) as socket:
                async for event in _events(socket, token, shown):
                    yield event
                    # The caller has stored the event, because it asks for the next one.
                    if isinstance(event, (Synced, Continue, Changes, Bookmark)):
                        position, was_served = event.position, True
        except _Ended as ended:
            code, detail = ended.code, ended.detail
        except (OSError, asyncio.TimeoutError, EOFError, websockets.WebSocketException) as error:
            code, detail = _status(error), str(error) or "nothing came for too long"
        report(f"{url}: {detail} ({code})")
        refusals = refusals + 1 if code in REFUSED else 0
        if refusals:
            refusal, refused_token = FollowError(code, detail), shown
        failures = 0 if was_served else failures + 1
        turn += 1
        # Random, so that the followers of a lost node do not all return at the same moment.
        delay = min(FIRST_DELAY_SECONDS * 2**min(failures, 10), MAX_DELAY_SECONDS)
        await asyncio.sleep(delay * random.uniform(0.5, 1))


class _Ended(Exception):
    """The connection was closed, with a code of docs/protocol.md."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def _open(url: str, prefixes: Sequence[str], position: Optional[str], token: Optional[str]) -> Any:
    query = [("prefix", prefix) for prefix in prefixes] + ([("position", position)] if position else [])
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{url} does not begin with http:// or https://")
    # The token is not in the URL, because logs keep URLs.
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    renamed = int(version.split(".")[0]) >= 14
    options: Dict[str, Any] = {"additional_headers" if renamed else "extra_headers": headers}
    address = f"ws{url[4:].rstrip('/')}/v1/changes?{urlencode(query)}"
    return _Connect(
        address,
        subprotocols=[Subprotocol("psync.v1.json")],
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
        close_timeout=1,
        **options,
    )


async def _events(socket: Any, token: Token, shown: Optional[str]) -> AsyncIterator[Event]:
    """Raises _Ended when the node closes the connection, and TimeoutError when it is silent."""
    failure: Optional[Failure] = None
    while True:
        try:
            message = await asyncio.wait_for(socket.recv(), SILENCE_SECONDS)
        except websockets.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            told = f"{failure.code}: {failure.detail}" if failure else "the connection has ended"
            raise _Ended(code, told) from closed
        event = parse(message)
        if isinstance(event, Failure):
            failure = event  # The close code says what to do.
        elif isinstance(event, Expiring):
            renewed = token() if callable(token) else None
            if renewed not in (None, shown):
                shown = renewed
                await socket.send(json.dumps({"type": "auth", "token": renewed}))
        elif event is not None:
            yield event


def _status(error: BaseException) -> int:
    """The status of HTTP if the node refused to open the WebSocket; else 1006, as for a broken connection."""
    response = getattr(error, "response", None)  # From websockets 14 on.
    return int(getattr(response, "status_code", None) or getattr(error, "status_code", None) or 1006)
