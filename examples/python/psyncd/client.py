"""Requests to a node, with nothing but the standard library."""
from __future__ import annotations

import base64
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .events import Entry, ProtocolError, decoded

MAX_HOPS = 8
"""Largest number of replicas that a write goes through to its master."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,16})"')  # A proxy that compresses makes it weak.


class BadAnswer(OSError):
    """The answer is none of psyncd's, as that of a proxy or another server, or it breaks off. A write may have been carried out."""


class Problem(Exception):
    """The node refuses a request. Programs look at `code`, which is stable; `detail` is for people.

    status: of HTTP.
    members: all that the node says, as `currentVersion` of PRECONDITION_FAILED and `master` of READONLY.
    retry_after: seconds after which another attempt makes sense; None: the node does not say.
    """

    def __init__(self, status: int, members: Mapping[str, Any], retry_after: Optional[float] = None) -> None:
        self.status, self.members, self.retry_after = status, members, retry_after
        self.code, self.detail = str(members["code"]), str(members.get("detail") or members.get("title"))
        super().__init__(f"{self.code} ({status}): {self.detail}")


@dataclass(frozen=True)
class Written:
    """The answer to a write."""

    version: int
    """For `if_version` of the next write."""
    created: bool
    position: str
    """For `position` of a read on a replica, which then shows this write."""


class Client:
    """Reads and writes the entries of a node. Each method raises Problem, or OSError if there is no answer; BadAnswer, an OSError, if it is none of psyncd's.

    A request without an answer may have been carried out: repeat only what may happen twice.
    """

    def __init__(
        self, node: str, token: Optional[str] = None, masters: Sequence[str] = (), timeout: float = 30
    ) -> None:
        """
        node: URL, as http://HOST:PORT.
        masters: URLs of further nodes that may see the token. A replica redirects a write to its master; a write
            with a token goes there only if the master is one of these, else READONLY is raised, and names it.
        timeout: in seconds, for each wait for the node.
        """
        self._node, self._token, self._timeout = node.rstrip("/"), token, timeout
        self._named = {_origin(url) for url in (node, *masters)}

    def get(self, key: str, position: Optional[str] = None) -> Optional[Entry]:
        """Returns the entry; None: there is none.

        position: that of an earlier answer; the node answers when it has come so far.
        """
        headers = {"Psync-Position": position} if position else {}
        try:
            answer = self._send("GET", _path(key), headers=headers)
        except Problem as problem:
            if problem.code == "NOT_FOUND":
                return None
            raise
        with _understanding():
            etag = _ETAG.fullmatch(answer.headers.get("ETag") or "")
            if etag is None:
                raise ValueError("no version in ETag")
            expires_at = answer.headers.get("Psync-Expires-At")
            return Entry(key, answer.body, int(etag[1]), None if expires_at is None else int(expires_at))

    def set(
        self,
        key: str,
        value: bytes,
        ttl: Optional[float] = None,
        if_version: Optional[int] = None,
        if_absent: bool = False,
    ) -> Written:
        """Sets an entry. Raises Problem PRECONDITION_FAILED if the condition is not met.

        ttl: seconds until it expires; None: it does not expire, whatever it did before.
        if_version, if_absent: write only over this version, or only if there is no entry.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if if_version is not None:
            headers["If-Match"] = f'"{if_version}"'
        if if_absent:
            headers["If-None-Match"] = "*"
        query = {} if ttl is None else {"ttl": ttl}
        answer = self._send("PUT", _path(key), query, value, headers)
        with _understanding():
            members = answer.json()
            return Written(
                _of(int, members["version"]), _of(bool, members["created"]), _of(str, members["position"])
            )

    def delete(self, key: str, if_version: Optional[int] = None) -> bool:
        """Deletes an entry. Returns whether there was one."""
        headers = {} if if_version is None else {"If-Match": f'"{if_version}"'}
        try:
            self._send("DELETE", _path(key), headers=headers)
        except Problem as problem:
            if problem.code == "NOT_FOUND":
                return False
            raise
        return True

    def batch(self, operations: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
        """Carries out up to 10,000 operations, all or none, as {"op": "set", "key": "k", "value": b"…"}.

        Returns the result of each one, as openapi.yaml describes it. A `value` is bytes, here and in the results.
        """
        body = json.dumps({"ops": [_in_json(operation) for operation in operations]}).encode()
        answer = self._send("POST", "/v1/batch", {}, body, {"Content-Type": "application/json"})
        with _understanding():
            results = _of(list, answer.json()["results"])
            if len(results) != len(operations):
                raise ValueError(f"{len(results)} results")
            return [_in_bytes(_of(dict, result)) for result in results]

    def entries(self, prefix: str = "", page_size: int = 100) -> Iterator[Entry]:
        """Yields the entries with this prefix in the order of their keys, page by page to the end.

        The pages are of different moments. For one moment, follow.
        """
        query: Dict[str, Any] = {"prefix": prefix, "limit": page_size, "values": "true"}
        while True:
            answer = self._send("GET", "/v1/keys", query)
            with _understanding():
                page = answer.json()
                entries, after = [_entry(each) for each in page["keys"]], page["next"]
                if after is not None and _of(str, after).encode() <= query.get("after", "").encode():
                    raise ValueError("the next page does not come after this one")
            yield from entries
            if after is None:
                return
            query["after"] = after

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] = {},
        body: Optional[bytes] = None,
        headers: Mapping[str, str] = {},
    ) -> _Answer:
        url = f"{self._node}{path}?{urlencode(query)}" if query else f"{self._node}{path}"
        for _ in range(MAX_HOPS):
            shown = dict(headers)
            if self._token is not None:
                shown["Authorization"] = f"Bearer {self._token}"
            request = Request(url, body, shown, method=method)
            try:
                with _OPENER.open(request, timeout=self._timeout) as response:
                    if "Psync-Position" not in response.headers:
                        raise BadAnswer(f"{url} does not answer like psyncd: no Psync-Position")
                    return _Answer(_read(response), response.headers)
            except HTTPException as error:
                raise BadAnswer(f"the answer of {url} is not whole: {error!r}") from error
            except HTTPError as error:
                with error:
                    problem = _problem(error)
                    location = error.headers.get("Location")
            if problem.status != 307 or problem.code != "READONLY" or location is None:
                raise problem
            try:
                master = urljoin(url, location)
                if not self._may_follow(url, master):
                    raise problem
            except ValueError:  # It is no URL.
                raise problem from None
            url = master
        raise problem

    def _may_follow(self, replica: str, master: str) -> bool:
        schemes = ("https",) if _origin(replica)[0] == "https" else ("http", "https")
        if _origin(master)[0] not in schemes:
            return False
        return self._token is None or _origin(master) in self._named


@dataclass(frozen=True)
class _Answer:
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Dict[str, Any]:
        return _of(dict, json.loads(self.body))


class _NoRedirects(HTTPRedirectHandler):
    """The library would show the token to whoever the answer names."""

    def http_error_302(self, *_: Any) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


_OPENER = build_opener(_NoRedirects)


def _read(response: Any) -> bytes:
    try:
        body: bytes = response.read(MAX_ANSWER_BYTES + 1)
    except HTTPException as error:
        raise BadAnswer(f"the answer is not whole: {error!r}") from error
    if len(body) > MAX_ANSWER_BYTES:
        raise BadAnswer(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    if getattr(response, "length", None):  # `read` with a bound says nothing of the bytes that it lacks.
        raise BadAnswer("the answer breaks off")
    return body


@contextmanager
def _understanding() -> Iterator[None]:
    """Turns what goes wrong while an answer is read into BadAnswer."""
    try:
        yield
    except (AttributeError, LookupError, ProtocolError, RecursionError, TypeError, ValueError) as error:
        raise BadAnswer(f"the node does not answer like psyncd: {error!r}") from error


def _of(kind: Any, value: Any) -> Any:
    """Returns the value if it has exactly this type: in Python True is an int too."""
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
    return value


def _entry(sent: Any) -> Entry:
    expires_at = sent["expiresAt"]
    return Entry(
        _of(str, sent["key"]),
        decoded(sent),
        _of(int, sent["version"]),
        None if expires_at is None else _of(int, expires_at),
    )


def _problem(error: HTTPError) -> Problem:
    """Returns what the answer says; a proxy between may answer without a problem."""
    members: Dict[str, Any] = {"code": "UNKNOWN", "detail": str(error.reason)}
    try:
        body = json.loads(_read(error))
        if isinstance(body, dict) and isinstance(body.get("code"), str):
            members = body
    except (ValueError, RecursionError):
        pass
    retry_after = error.headers.get("Retry-After", "")
    return Problem(error.code, members, float(retry_after) if retry_after.isdecimal() else None)


def _path(key: str) -> str:
    return f"/v1/keys/{quote(key, safe='')}"


def _in_json(operation: Mapping[str, Any]) -> Dict[str, Any]:
    value = operation.get("value")
    if not isinstance(value, bytes):
        return dict(operation)
    return {**operation, "value": base64.b64encode(value).decode(), "encoding": "base64"}


def _in_bytes(result: Dict[str, Any]) -> Dict[str, Any]:
    if "encoding" not in result:
        return result
    return {name: member for name, member in result.items() if name != "encoding"} | {"value": decoded(result)}


def _origin(url: str) -> Tuple[str, Optional[str], Optional[int]]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default
