"""Where a function's value and derivatives come from: traced by JAX, taped by autograd, or given."""

from heflwr.automon.backends.backend import Backend
from heflwr.automon.backends.given import GivenBackend
from heflwr.automon.backends.taped import AutogradBackend
from heflwr.automon.backends.traced import JaxBackend

__all__ = ["AutogradBackend", "Backend", "GivenBackend", "JaxBackend"]
