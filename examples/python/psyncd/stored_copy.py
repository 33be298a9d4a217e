"""A copy of the entries in an SQLite file, with the position that belongs to it."""
from __future__ import annotations

import json
import sqlite3
import time
from typing import Iterator, Optional, Sequence, Tuple

from .events import Bookmark, Change, Changes, Continue, Delete, Entry, Event, Expire, Flush, Reset
from .events import SnapshotEntry, Synced

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, expires_at INTEGER);
CREATE TABLE IF NOT EXISTS state (scope TEXT NOT NULL, position TEXT);
CREATE TEMP TABLE incoming AS SELECT * FROM entry WHERE false;
"""


class StoredCopy:
    """Entries and their position. Both change in one transaction, so that a crash at any moment loses and doubles nothing.

    A snapshot is collected in a table of its own, while readers have the old copy. It is dropped when the process
    ends: only a complete snapshot replaces the copy.
    """

    def __init__(self, path: str, prefixes: Sequence[str] = ()) -> None:
        """Opens or creates the file. A copy of other prefixes has other entries: it is emptied."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(SCHEMA)
        scope = json.dumps(sorted(prefixes))
        with self._transaction():
            if self._db.execute("SELECT scope FROM state").fetchall() != [(scope,)]:
                self._db.execute("DELETE FROM entry")
                self._db.execute("DELETE FROM state")
                self._db.execute("INSERT INTO state VALUES (?, NULL)", (scope,))

    @property
    def position(self) -> Optional[str]:
        """Position of the copy, to resume from; None: there is no copy yet."""
        (position,) = self._db.execute("SELECT position FROM state").fetchone()
        return None if position is None else str(position)

    def get(self, key: str) -> Optional[bytes]:
        """Returns the value; None: there is no such entry, or it has expired."""
        return next((value for _, value in self._select("key = ?", key)), None)

    def items(self) -> Iterator[Tuple[str, bytes]]:
        """Yields keys and values in the order of the keys, without entries that have expired."""
        return self._select("true")

    def take(self, event: Event) -> None:
        """Carries out an event, and stores its position with the result. It is on the disk afterwards."""
        with self._transaction():
            if isinstance(event, (Reset, Continue)):  # An incomplete snapshot is void. The copy stays.
                self._db.execute("DELETE FROM incoming")
            elif isinstance(event, SnapshotEntry):
                self._put("incoming", event.entry)
            elif isinstance(event, Synced):
                self._db.execute("DELETE FROM entry")
                self._db.execute("INSERT INTO entry SELECT * FROM incoming")
                self._db.execute("DELETE FROM incoming")
            elif isinstance(event, Changes):
                for change in event.changes:
                    self._apply(change)
            if isinstance(event, (Synced, Continue, Changes, Bookmark)):
                self._db.execute("UPDATE state SET position = ?", (event.position,))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _transaction(self) -> sqlite3.Connection:
        """Begins a transaction; `with` commits it, or takes it back if something fails."""
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def _apply(self, change: Change) -> None:
        if isinstance(change, Entry):
            self._put("entry", change)
        elif isinstance(change, Delete):
            self._db.execute("DELETE FROM entry WHERE key = ?", (change.key,))
        elif isinstance(change, Expire):
            self._db.execute("UPDATE entry SET expires_at = ? WHERE key = ?", (change.expires_at, change.key))
        elif isinstance(change, Flush):
            self._db.execute("DELETE FROM entry")

    def _put(self, table: str, entry: Entry) -> None:
        row = (entry.key, entry.value, entry.version, entry.expires_at)
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", row)

    def _select(self, condition: str, *values: str) -> Iterator[Tuple[str, bytes]]:
        # The node deletes an expired entry soon; a reader must not see it until then.
        alive = "(expires_at IS NULL OR expires_at > ?)"
        query = f"SELECT key, value FROM entry WHERE {condition} AND {alive} ORDER BY key"
        return iter(self._db.execute(query, (*values, int(time.time() * 1000))).fetchall())
