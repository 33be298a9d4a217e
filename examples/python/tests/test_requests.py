"""The requests against a real node: PSYNCD_NODE, and PSYNCD_REPLICA with its token PSYNCD_TOKEN."""
import os
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer

from psyncd import BadAnswer, Client, Problem

NODE, REPLICA, TOKEN = (os.environ[f"PSYNCD_{name}"] for name in ("NODE", "REPLICA", "TOKEN"))


class Requests(unittest.TestCase):
    def setUp(self) -> None:
        self.client = Client(NODE, TOKEN)

    def refused(self, code: str, call, *args, **options) -> Problem:
        with self.assertRaises(Problem) as caught:
            call(*args, **options)
        self.assertEqual(caught.exception.code, code)
        return caught.exception

    def test_an_entry_has_the_bytes_that_were_set_under_any_key(self) -> None:
        for key in ("a", "ü/ö", "a b?c#d%2F", "x/increment", ".", ".."):
            written = self.client.set(key, b"\xff\x00" + key.encode())
            entry = self.client.get(key)
            self.assertEqual((entry.key, entry.value, entry.version), (key, b"\xff\x00" + key.encode(), written.version))
            self.assertIsNone(entry.expires_at)
            self.assertTrue(self.client.delete(key))
            self.assertFalse(self.client.delete(key))
            self.assertIsNone(self.client.get(key))

    def test_an_entry_with_a_ttl_says_when_it_expires(self) -> None:
        self.client.set("ttl", b"v", ttl=60.5)
        left = self.client.get("ttl").expires_at / 1000 - time.time()
        self.assertTrue(0 < left <= 61, left)

    def test_a_condition_that_is_not_met_writes_nothing(self) -> None:
        first = self.client.set("condition", b"1", if_absent=True)
        self.refused("PRECONDITION_FAILED", self.client.set, "condition", b"2", if_absent=True)
        second = self.client.set("condition", b"2", if_version=first.version)
        self.assertEqual((first.created, second.created), (True, False))
        refusal = self.refused("PRECONDITION_FAILED", self.client.set, "condition", b"3", if_version=first.version)
        self.assertEqual(refusal.members["currentVersion"], second.version)
        self.refused("PRECONDITION_FAILED", self.client.delete, "condition", if_version=first.version)
        self.assertEqual(self.client.get("condition").value, b"2")

    def test_a_batch_is_carried_out_whole_or_not_at_all(self) -> None:
        results = self.client.batch(
            [{"op": "set", "key": "batch:1", "value": b"\xff"}, {"op": "get", "key": "batch:1"}]
        )
        self.assertEqual(results[1]["value"], b"\xff")
        wrong = [{"op": "set", "key": "batch:1", "value": b"2"}, {"op": "increment", "key": "batch:1", "by": "x"}]
        self.assertEqual(self.refused("BAD_REQUEST", self.client.batch, wrong).status, 400)
        self.assertEqual(self.client.get("batch:1").value, b"\xff")

    def test_entries_come_from_all_pages_in_order(self) -> None:
        self.client.batch([{"op": "set", "key": f"page:{index:03}", "value": bytes([index])} for index in range(250)])
        entries = list(self.client.entries("page:", page_size=100))
        self.assertEqual([(each.key, each.value) for each in entries], [(f"page:{i:03}", bytes([i])) for i in range(250)])

    def test_a_problem_has_its_code_also_if_a_proxy_has_answered(self) -> None:
        self.assertEqual(self.refused("UNAUTHORIZED", Client(NODE, "wrong").get, "a").status, 401)
        self.refused("KEY_TOO_LONG", self.client.get, "k" * 1025)
        with answering(502, {}, b"<html>") as (url, _):
            self.assertEqual(self.refused("UNKNOWN", Client(url).get, "a").status, 502)

    def test_a_write_to_a_replica_is_sent_to_a_master_that_may_see_the_token(self) -> None:
        refusal = self.refused("READONLY", Client(REPLICA, TOKEN).set, "redirected", b"v")
        self.assertEqual((refusal.status, refusal.members["master"]), (307, NODE))
        self.assertIsNone(self.client.get("redirected"))
        written = Client(REPLICA, TOKEN, masters=[NODE]).set("redirected", b"v")
        # A read with the position of a write shows it, also on a replica.
        self.assertEqual(Client(REPLICA, TOKEN).get("redirected", position=written.position).value, b"v")

    def test_no_redirect_shows_the_token_to_another_server(self) -> None:
        with answering(200, {}, b"{}") as (stranger, seen):
            body = b'{"code":"READONLY"}'
            for status in (301, 302, 303, 307, 308):
                with answering(status, {"Location": f"{stranger}/v1/keys/a"}, body) as (url, _):
                    for call in (lambda client: client.set("a", b"v"), lambda client: client.get("a")):
                        with self.assertRaises(Problem):
                            call(Client(url, TOKEN))
            self.assertEqual(seen, [])
        with answering(307, {"Location": "file:///etc/hostname"}, body) as (url, _):
            self.refused("READONLY", Client(url).set, "a", b"v")

    def test_an_answer_that_breaks_off_is_an_error_of_the_connection(self) -> None:
        with answering(200, {"Content-Length": "10", "ETag": '"1"'}, b"half") as (url, _):
            with self.assertRaises(OSError):
                Client(url).get("a")
        with answering(500, {"Transfer-Encoding": "chunked"}, b"10\r\nhalf") as (url, _):
            with self.assertRaises(BadAnswer):
                Client(url).get("a")

    def test_an_answer_that_is_none_of_psyncds_is_one_kind_of_error(self) -> None:
        calls = (
            lambda client: client.get("a"),
            lambda client: client.set("a", b"v"),
            lambda client: client.batch([{"op": "delete", "key": "a"}]),
            lambda client: list(client.entries()),
        )
        position = {"Psync-Position": f"{'a' * 40}:7"}
        bodies = (
            b"<html>",
            b"null",
            b"[" * 200_000,
            b"\xff",
            b"9" * 5_000,
            b"{}",
            b'{"version":true,"created":1,"position":null,"keys":[[]],"next":1,"results":[1]}',
            b'{"keys":[{"key":1,"value":{},"version":"1","expiresAt":true}],"next":null,"results":{}}',
            b'{"keys":[],"next":"","results":[]}',
        )
        for body in bodies:
            for etag in ({}, {"ETag": 'W/"x"'}, {"ETag": '"' + "9" * 5_000 + '"'}):
                with answering(200, {**position, **etag}, body) as (url, _):
                    for call in calls:
                        with self.assertRaises(BadAnswer, msg=str((body[:40], etag))):
                            call(Client(url))
        for call in (*calls, lambda client: client.delete("a")):
            with answering(200, {"ETag": '"1"'}, b"<html>") as (url, _):
                with self.assertRaises(BadAnswer):
                    call(Client(url))

    def test_a_weak_etag_has_the_version_too(self) -> None:
        with answering(200, {"Psync-Position": f"{'a' * 40}:7", "ETag": 'W/"5"'}, b"v") as (url, _):
            self.assertEqual(Client(url).get("a").version, 5)

    def test_a_redirect_to_what_is_no_url_is_the_refusal(self) -> None:
        for location in ("http://[::1", "http://a:99999999/"):
            with answering(307, {"Location": location}, b'{"code":"READONLY"}') as (url, _):
                self.refused("READONLY", Client(url).set, "a", b"v")


class answering:
    """A server that answers every request in the same way. Gives its URL and the list of the requests that it gets."""

    def __init__(self, status: int, headers: dict, body: bytes) -> None:
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                seen.append(self.path)
                # Else the connection would be reset, and the answer could be lost.
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_) -> None:
                pass

        self.server, self.seen = HTTPServer(("127.0.0.1", 0), Handler), seen

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}", self.seen

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    unittest.main()
