"""What can go wrong with geometric monitoring, and whose fault it was.

    ValueError, TypeError      the caller's: a wrong argument (a shape, a bound), raised at the door
    AutomonError
    ├── UnsupportedFunction    the caller's: the function cannot be traced, derived or run without its backend
    ├── BackendUnavailable     the machine's: JAX or autograd is needed and not installed
    └── MalformedMessage       the peer's: bytes or numbers that no node or coordinator of ours sends

Events of a fleet (a stale version, a repeated violation, a node that sends NaN) are no errors: each is a row in the
protocol's table.
"""


class AutomonError(Exception):
    """Base of what heflwr.automon raises besides ValueError and TypeError."""


class UnsupportedFunction(AutomonError):
    """The monitored function does something that its backend, or its NumPy program, cannot follow."""


class BackendUnavailable(AutomonError):
    """The package that derives or compiles the function is not installed."""


class MalformedMessage(AutomonError):
    """A message with a wrong size, version or content arrived."""
