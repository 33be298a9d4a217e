#!/usr/bin/env python3
"""Keeps a copy of some of a node's entries in a file, and prints what changes.

    python3 follow.py [PREFIX [FILE]]          needs websockets: apt install python3-websockets

You can stop it and start it again: it continues from its last position. It follows the rules in docs/protocol.md.
PSYNCD_NODE names the node; the default is http://127.0.0.1:7796.
"""
import argparse
import asyncio
import json
import os
import random
import sys
from urllib.parse import urlencode

try:
    import websockets
except ImportError:
    sys.exit("follow.py needs websockets: apt install python3-websockets, or pip install websockets")

NODE = os.environ.get("PSYNCD_NODE", "http://127.0.0.1:7796")
COMMAND = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
COMMAND.add_argument("prefix", nargs="?", default="", help="prefix of the keys to follow (default: all keys)")
COMMAND.add_argument("file", nargs="?", default="copy.json", help="file for the copy (default: copy.json)")
ARGUMENTS = COMMAND.parse_args()
PREFIX, FILE = ARGUMENTS.prefix, ARGUMENTS.file
SILENCE_SECONDS = 30  # A node sends something every ten seconds; after this silence the connection counts as dead.
MAX_DELAY_SECONDS = 10
NOT_AGAIN = {4400: "the request is wrong", 4403: "forbidden"}  # Another attempt would end the same way.


def for_owner(path, flags):
    """Opens a file that nobody but its owner may read: the copy holds the values."""
    return os.open(path, flags, 0o600)


class Copy:
    """The entries and their position, which are always stored together."""

    def __init__(self):
        self.position, self.entries, self.incoming = None, {}, None
        if os.path.exists(FILE):
            try:
                with open(FILE) as file:
                    stored = json.load(file)
                # A copy for another prefix has other entries, so it does not count.
                if stored["prefix"] == PREFIX:
                    self.position, self.entries = stored["position"], stored["entries"]
            except (ValueError, KeyError, TypeError):  # Another program may have written the file, so it stays.
                sys.exit(f"{FILE} was not written by follow.py; remove it, or name another file")

    def store(self):
        with open(FILE + ".new", "w", opener=for_owner) as file:
            json.dump({"prefix": PREFIX, "position": self.position, "entries": self.entries}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(FILE + ".new", FILE)  # Replaces the file as a whole, also if the machine crashes.

    def take(self, event):
        kind = event["type"]
        if kind == "reset":  # The old copy and its position stay until the new copy is complete.
            self.incoming = {}
        elif kind == "entry":
            self.incoming[event["key"]] = entry_of(event)
        elif kind == "synced":
            self.entries, self.incoming = self.incoming, None
        elif kind == "continue":
            self.incoming = None
        elif kind == "batch":  # The changes of a batch belong together, so they are stored together.
            for change in event["changes"]:
                self.apply(change)
        else:
            self.apply(event)
        if kind in ("synced", "continue", "set", "delete", "expiry", "flush", "batch", "bookmark"):
            self.position = event["position"]
            self.store()
        if kind in ("reset", "synced", "continue", "batch"):
            print(kind, event.get("reason", ""), event["position"], flush=True)

    def apply(self, change):
        kind, key = change["type"], change.get("key")
        if kind == "set":
            self.entries[key] = entry_of(change)
        elif kind == "delete":
            self.entries.pop(key, None)
        elif kind == "expiry" and key in self.entries:
            self.entries[key]["expiresAt"] = change["expiresAt"]
        elif kind == "flush":
            self.entries.clear()
        if kind in ("set", "delete", "expiry", "flush"):
            print(kind, key or "", change.get("value", ""), flush=True)


def entry_of(event):
    """`value` is text if `encoding` is `utf8`; if `encoding` is `base64`, it is base64 of the bytes of the value."""
    return {name: event[name] for name in ("value", "encoding", "version", "expiresAt")}


async def follow_once(copy):
    query = [("prefix", PREFIX)] + ([("position", copy.position)] if copy.position else [])
    url = f"{NODE.replace('http', 'ws', 1)}/v1/changes?{urlencode(query)}"
    # max_size: the library's own limit is smaller than the largest value.
    async with websockets.connect(url, subprotocols=["psync.v1.json"], max_size=None, close_timeout=1) as socket:
        while True:
            event = json.loads(await asyncio.wait_for(socket.recv(), SILENCE_SECONDS))
            if event["type"] == "error":
                print("error", event["code"], event["detail"], file=sys.stderr)
            else:
                copy.take(event)


async def main():
    copy, delay = Copy(), 0.1
    while True:
        before = copy.position
        try:
            await follow_once(copy)
        except websockets.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            if code in NOT_AGAIN:
                sys.exit(NOT_AGAIN[code])
            print("the connection has ended:", code, file=sys.stderr)
        except (OSError, asyncio.TimeoutError, websockets.InvalidHandshake) as error:
            print("no connection:", error or "silence", file=sys.stderr)
        # The delay grows with each attempt that brought nothing. It is random, so that followers do not all return together.
        delay = 0.1 if copy.position != before else min(2 * delay, MAX_DELAY_SECONDS)
        await asyncio.sleep(delay * random.uniform(0.5, 1))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
