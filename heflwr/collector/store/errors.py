"""What can go wrong with a store, and whose fault it is.

RuntimeError
  StoreUnavailable   it cannot be opened: the operator's choice or the machine
  StoreFailed        it was open and does not answer now: full disk, lost server, closed; come again
"""

from __future__ import annotations


class StoreUnavailable(RuntimeError):
    """The database cannot be had; the text names it, why not, and the way out."""


class StoreFailed(RuntimeError):
    """The database cannot be used now; nothing of the call was stored."""
