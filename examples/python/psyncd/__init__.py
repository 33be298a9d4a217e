"""A client for psyncd: requests, and a copy of the entries that follows a node. README.md says how to use it."""
from .events import Delete, Entry, Expire, Flush
from .follower import FollowError, follow
from .client import BadAnswer, Client, Problem
from .stored_copy import StoredCopy

__all__ = ["BadAnswer", "Client", "Delete", "Entry", "Expire", "FollowError", "Flush", "Problem", "StoredCopy", "follow"]
