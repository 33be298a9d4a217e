"""The events of `/v1/changes`, as docs/protocol.md describes them: `parse` makes one of a message.

What a node sends is checked here, so that the rest of the client may rely on it.
"""
from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple, Union


class ProtocolError(Exception):
    """A message is no event, or has a change that this client does not know."""


@dataclass(frozen=True)
class Entry:
    """An entry of a snapshot, or the change to exactly this."""

    key: str
    value: bytes
    version: int
    """Number of the write that last set the entry, the same on every node; the ETag."""
    expires_at: Optional[int]
    """In milliseconds since 1970; None: the entry does not expire."""


@dataclass(frozen=True)
class Delete:
    """The entry is gone."""

    key: str


@dataclass(frozen=True)
class Expire:
    """The entry has another expiry."""

    key: str
    expires_at: Optional[int]


@dataclass(frozen=True)
class Flush:
    """All entries are gone, whatever the prefixes."""


Change = Union[Entry, Delete, Expire, Flush]


@dataclass(frozen=True)
class Reset:
    """A snapshot follows. Its position is none to resume from before `Synced`, so it is left out."""

    reason: str


@dataclass(frozen=True)
class SnapshotEntry:
    """An entry of the snapshot."""

    entry: Entry


@dataclass(frozen=True)
class Synced:
    """The snapshot is complete, and replaces the copy."""

    position: str


@dataclass(frozen=True)
class Continue:
    """The copy stays; the changes after the position follow. An incomplete snapshot is void."""

    position: str
    head: Optional[str]
    """Position of the node: the copy has everything up to now once it has come so far. None: an older node."""


@dataclass(frozen=True)
class Changes:
    """Changes that belong together: the reader of a copy sees all of them or none."""

    changes: Tuple[Change, ...]
    position: str


@dataclass(frozen=True)
class Bookmark:
    """The copy has everything up to this position."""

    position: str


@dataclass(frozen=True)
class Expiring:
    """The token of the connection expires soon."""


@dataclass(frozen=True)
class Failure:
    """The node is about to close the connection."""

    code: str
    detail: str


Event = Union[Reset, SnapshotEntry, Synced, Continue, Changes, Bookmark, Expiring, Failure]


def parse(message: Union[str, bytes]) -> Optional[Event]:
    """Returns the event; None for `waiting` and for types that this client does not know, which may be ignored.

    The position of an unknown event is ignored too: perhaps it is none to resume from, like that of `reset`.
    Raises ProtocolError if the message is no event, or has an unknown change within a batch.
    """
    try:
        event = json.loads(message)
        kind = _text(event, "type")
        if kind == "reset":
            return Reset(_text(event, "reason"))
        if kind == "entry":
            return SnapshotEntry(_entry(event))
        if kind == "synced":
            return Synced(_text(event, "position"))
        if kind == "continue":
            return Continue(_text(event, "position"), _text(event, "head") if "head" in event else None)
        if kind == "batch":
            return Changes(tuple(_known(change) for change in event["changes"]), _text(event, "position"))
        if kind == "bookmark":
            return Bookmark(_text(event, "position"))
        if kind == "expiring":
            return Expiring()
        if kind == "error":
            return Failure(_text(event, "code"), _text(event, "detail"))
        change = _change(event)
        return None if change is None else Changes((change,), _text(event, "position"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"this is no event of psyncd: {message[:200]!r}") from error


def _known(change: Any) -> Change:
    """To ignore an unknown change would lose it, so it is an error."""
    known = _change(change)
    if known is None:
        raise ProtocolError(f"unknown change in a batch: {change['type']!r}; this client is too old")
    return known


def _change(change: Any) -> Optional[Change]:
    kind = _text(change, "type")
    if kind == "set":
        return _entry(change)
    if kind == "delete":
        return Delete(_text(change, "key"))
    if kind == "expiry":
        return Expire(_text(change, "key"), _time(change))
    if kind == "flush":
        return Flush()
    return None


def _entry(event: Any) -> Entry:
    return Entry(_text(event, "key"), decoded(event), _number(event["version"]), _time(event))


def decoded(holder: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a value: `encoding` says how JSON has them. Raises ValueError if it is unknown."""
    value, encoding = _text(holder, "value"), holder["encoding"]
    if encoding == "utf8":
        return value.encode()
    if encoding == "base64":
        return base64.b64decode(value, validate=True)
    raise ValueError(f"unknown encoding {encoding!r}")


def _time(event: Any) -> Optional[int]:
    time = event["expiresAt"]
    return None if time is None else _number(time)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:  # isinstance would take True.
        raise TypeError("not a whole number of 63 bits")
    return value


def _text(event: Any, name: str) -> str:
    text = event[name]
    if not isinstance(text, str):
        raise TypeError(f"{name} is not text")
    text.encode()  # Half a surrogate pair is no text: UnicodeEncodeError is a ValueError.
    return text
