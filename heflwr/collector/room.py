"""How many connections a process has room for: each is an open file, and systems allow a thousand unless asked."""

from __future__ import annotations

FILES_KEPT = 192
"""Files besides connections: three a reader of the database, as many readers as threads."""

_LEAST = 16


def make_room(connections: int) -> None:
    """Let this process have so many connections open, or as many as the system allows it to ask for."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_KEPT
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for(connections: int) -> int:
    """Return how many of these connections fit, so that the database can open its files whoever connects."""
    try:
        import resource
    except ModuleNotFoundError:
        return connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(_LEAST, min(connections, soft - FILES_KEPT))
