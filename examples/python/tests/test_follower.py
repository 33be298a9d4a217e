"""`follow` with nodes that behave as each test says."""
import asyncio
import json
import unittest
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import websockets

from psyncd import FollowError, follow
from psyncd.events import Bookmark, ProtocolError

BOOKMARKS = [{"type": "bookmark", "position": f"run:{offset}"} for offset in range(4)]


class Node:
    """Answers each connection with the next script: events to send, and then the code to close with."""

    def __init__(self, *scripts) -> None:
        self.scripts, self.positions, self.tokens, self.received = list(scripts), [], [], []

    async def __aenter__(self) -> "Node":
        # The node decides by itself what it takes, so that a refusal is a close code.
        self.server = await websockets.serve(self.serve, "127.0.0.1", 0, subprotocols=["psync.v1.json"])
        self.url = f"http://127.0.0.1:{list(self.server.sockets)[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, socket) -> None:
        new = hasattr(socket, "request")  # From websockets 14 on.
        path = socket.request.path if new else socket.path
        headers = socket.request.headers if new else socket.request_headers
        self.positions += parse_qs(urlsplit(path).query).get("position", [None])
        self.tokens.append(headers.get("Authorization"))
        *events, code = self.scripts.pop(0) if self.scripts else [4503]
        for event in events:
            await socket.send(json.dumps(event))
        if code is None:
            async for message in socket:
                self.received.append(message)
        else:
            await socket.close(code)


class Follow(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        faster = patch("psyncd.follower.FIRST_DELAY_SECONDS", 0.001)
        faster.start()
        self.addCleanup(faster.stop)

    async def taken(self, count: int, *args, **options) -> list:
        events, feed = [], follow(*args, **options)
        async for event in feed:
            events.append(event)
            if len(events) == count:
                break
        await feed.aclose()
        return events

    async def test_each_connection_continues_after_the_last_event_that_was_taken(self) -> None:
        first, second, third, fourth = BOOKMARKS
        reset = {"type": "reset", "position": "run:9", "reason": "first-sync", "keys": 1}
        unknown = {"type": "news", "position": "run:99"}
        async with Node([first, second, 1001], [unknown, third, reset, 1011], [fourth, None]) as node:
            events = await self.taken(5, [node.url])
        self.assertEqual([each.position for each in events if isinstance(each, Bookmark)], [f"run:{i}" for i in range(4)])
        self.assertEqual(node.positions, [None, "run:1", "run:2"])

    async def test_the_next_node_is_tried_and_one_refusal_ends_nothing(self) -> None:
        async with Node([4403], [4403]) as one, Node([4503], [BOOKMARKS[0], None]) as other:
            events = await self.taken(1, ["http://127.0.0.1:9", one.url, other.url])
        self.assertEqual(events, [Bookmark("run:0")])

    async def test_a_refusal_by_every_node_is_raised_with_the_code_and_the_reason(self) -> None:
        failure = {"type": "error", "code": "FORBIDDEN", "detail": "not yours"}
        for code in (4400, 4401, 4403, 4409):
            async with Node([failure, code]) as one, Node([failure, code]) as other:
                with self.assertRaisesRegex(FollowError, "FORBIDDEN: not yours") as caught:
                    await self.taken(1, [one.url, other.url], token="fixed")
                self.assertEqual((caught.exception.code, one.scripts, other.scripts), (code, [], []))

    async def test_other_codes_are_tried_again(self) -> None:
        async with Node(*([code] for code in (1000, 1001, 4408, 4413, 4429, 4503)), [BOOKMARKS[0], None]) as node:
            self.assertEqual(await self.taken(1, [node.url]), [Bookmark("run:0")])

    async def test_a_token_that_is_refused_is_exchanged_and_none_is_in_the_url(self) -> None:
        tokens = iter(["old", "new"])
        async with Node([4401], [BOOKMARKS[0], None]) as node:
            await self.taken(1, [node.url], token=lambda: next(tokens))
        self.assertEqual(node.tokens, ["Bearer old", "Bearer new"])
        async with Node([4401], [BOOKMARKS[0], None]) as node:
            with self.assertRaises(FollowError):
                await self.taken(1, [node.url], token=lambda: "the same")

    async def test_a_new_token_is_shown_when_the_old_one_is_about_to_expire(self) -> None:
        tokens = iter(["old", "new"])
        expiring = {"type": "expiring", "expiresAt": 1}
        async with Node([BOOKMARKS[0], expiring, BOOKMARKS[1], None]) as node:
            await self.taken(2, [node.url], token=lambda: next(tokens))
        self.assertEqual([json.loads(each) for each in node.received], [{"type": "auth", "token": "new"}])

    async def test_a_silent_connection_is_dead(self) -> None:
        async with Node([BOOKMARKS[0], None], [BOOKMARKS[1], None]) as node:
            with patch("psyncd.follower.SILENCE_SECONDS", 0.05):
                self.assertEqual(len(await self.taken(2, [node.url])), 2)
        self.assertEqual(node.positions, [None, "run:0"])

    async def test_an_unknown_change_in_a_batch_stops(self) -> None:
        batch = {"type": "batch", "position": "run:1", "changes": [{"type": "rename"}]}
        async with Node([batch, None]) as node:
            with self.assertRaises(ProtocolError):
                await self.taken(1, [node.url])

    async def test_a_redirect_does_not_show_the_token_to_another_server(self) -> None:
        async with Node() as stranger:
            async def redirect(_, writer) -> None:
                answer = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {stranger.url.replace('http', 'ws')}/v1/changes\r\n\r\n"
                writer.write(answer.encode())
                writer.close()

            async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
                url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                reports = asyncio.Queue()
                feed = asyncio.ensure_future(self.taken(1, [url], token="secret", report=reports.put_nowait))
                for _ in range(3):
                    await reports.get()
                feed.cancel()
        self.assertEqual(stranger.tokens, [])


if __name__ == "__main__":
    unittest.main()
