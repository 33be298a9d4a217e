"""Keeps a copy of entries in an SQLite file, and prints what changes: python3 -m psyncd FILE [--prefix P]… [--node URL]…

PSYNCD_TOKEN has the token for a node that wants one. Stop it with Ctrl-C; it continues where it was.
"""
from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys

from .events import Changes, Entry, Event, ProtocolError, Reset, Synced
from .follower import FollowError, follow
from .stored_copy import StoredCopy


def show(event: Event) -> None:
    """Prints an event in one line for each change."""
    if isinstance(event, Changes):
        for change in event.changes:
            value = change.value.decode(errors="backslashreplace") if isinstance(change, Entry) else ""
            print(type(change).__name__.lower(), getattr(change, "key", ""), value, flush=True)
    else:
        detail = event.reason if isinstance(event, Reset) else getattr(event, "position", "")
        print(type(event).__name__.lower(), detail, flush=True)


async def run(copy: StoredCopy, arguments: argparse.Namespace) -> None:
    """Keeps the copy up to date until the task is cancelled, or no node serves it."""
    token = os.environ.get("PSYNCD_TOKEN")
    report = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    async for event in follow(arguments.node, arguments.prefix, copy.position, token, report):
        copy.take(event)
        show(event)


def main() -> None:
    """Reads the command line and runs until Ctrl-C."""
    command = argparse.ArgumentParser(prog="python3 -m psyncd", description=__doc__)
    command.add_argument("file", help="SQLite file for the copy")
    command.add_argument("--prefix", action="append", default=[], help="prefix of the keys; default: all keys")
    command.add_argument("--node", action="append", help="URL of a node; repeat it for more (http://127.0.0.1:7796)")
    arguments = command.parse_args()
    arguments.node = arguments.node or ["http://127.0.0.1:7796"]
    try:
        copy = StoredCopy(arguments.file, arguments.prefix)
    except sqlite3.Error as error:
        sys.exit(f"{arguments.file}: {error}")
    try:
        asyncio.run(run(copy, arguments))
    except KeyboardInterrupt:
        pass
    except (FollowError, ProtocolError, ValueError) as error:
        sys.exit(str(error))
    finally:
        copy.close()


if __name__ == "__main__":
    main()
