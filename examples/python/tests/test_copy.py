"""Events and the stored copy, without a node."""
import json
import tempfile
import unittest
from pathlib import Path

from psyncd.events import ProtocolError, parse
from psyncd.stored_copy import StoredCopy


def entry(kind: str, key: str, value: str = "v", **more) -> dict:
    return {"type": kind, "key": key, "value": value, "encoding": "utf8", "version": 1, "expiresAt": None, **more}


class Events(unittest.TestCase):
    def test_unknown_types_and_members_are_ignored_but_not_an_unknown_change_of_a_batch(self) -> None:
        self.assertIsNone(parse('{"type":"news","position":"p"}'))
        self.assertIsNone(parse('{"type":"waiting"}'))
        self.assertEqual(parse('{"type":"bookmark","position":"p","more":1}').position, "p")
        with self.assertRaisesRegex(ProtocolError, "rename"):
            parse('{"type":"batch","changes":[{"type":"rename","key":"a"}],"position":"p"}')

    def test_what_is_no_event_is_an_error(self) -> None:
        wrong = [
            "", "[]", "null", "1", "{}", '{"type":1}', '{"type":"synced"}', '{"type":"batch","position":"p"}',
            '{"type":"delete","key":"a"}', '{"type":"delete","key":"\\ud800","position":"p"}', "[" * 100_000,
        ]
        for changed in ({"version": True}, {"version": 2**63}, {"version": -1}, {"version": 1.5}, {"expiresAt": "1"},
                        {"encoding": "hex"}, {"encoding": "base64", "value": "?"}, {"value": None}, {"value": "\ud800"}):
            wrong.append(json.dumps(entry("set", "a", position="p") | changed))
        for message in wrong:
            with self.assertRaises(ProtocolError, msg=message):
                parse(message)


class Copies(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name, "copy.db"))
        self.copy = self.opened()

    def opened(self, prefixes=("p",)) -> StoredCopy:
        copy = StoredCopy(self.path, prefixes)
        self.addCleanup(copy.close)
        return copy

    def take(self, *events: dict) -> None:
        for event in events:
            self.copy.take(parse(json.dumps(event)))

    def stored(self):
        """What another process would find."""
        copy = self.opened()
        return copy.position, dict(copy.items())

    def test_a_snapshot_replaces_the_copy_when_it_is_complete_and_not_before(self) -> None:
        reset = {"type": "reset", "position": "x", "reason": "first-sync", "keys": 1}
        self.take(reset, entry("entry", "void"), reset, entry("entry", "a"), {"type": "synced", "position": "1"})
        self.assertEqual(self.stored(), ("1", {"a": b"v"}))
        self.take(reset, entry("entry", "b"))
        self.assertEqual(self.stored(), ("1", {"a": b"v"}))
        self.take({"type": "continue", "position": "2"}, {"type": "set", **entry("set", "c"), "position": "3"})
        self.assertEqual(self.stored(), ("3", {"a": b"v", "c": b"v"}))

    def test_each_change_is_stored_with_its_position(self) -> None:
        self.take(entry("set", "a", position="1"), {"type": "expiry", "key": "a", "expiresAt": 1, "position": "2"})
        self.assertEqual(self.stored(), ("2", {}), "an expired entry is not shown")
        self.assertIsNone(self.copy.get("a"))
        self.take({"type": "expiry", "key": "a", "expiresAt": None, "position": "3"})
        self.assertEqual(self.copy.get("a"), b"v")
        self.take({"type": "delete", "key": "a", "position": "4"}, entry("set", "b", position="5"))
        batch = [{"type": "flush"}, entry("set", "c", "/w==", encoding="base64"), {"type": "delete", "key": "none"}]
        self.take({"type": "batch", "changes": batch, "position": "6"})
        self.assertEqual(self.stored(), ("6", {"c": b"\xff"}))
        self.take({"type": "bookmark", "position": "7"})
        self.assertEqual(self.stored(), ("7", {"c": b"\xff"}))

    def test_a_copy_of_other_prefixes_does_not_count(self) -> None:
        self.take(entry("set", "pa", position="1"))
        other = self.opened(("q",))
        self.assertEqual((other.position, list(other.items())), (None, []))


if __name__ == "__main__":
    unittest.main()
