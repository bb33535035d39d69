"""What can go wrong with the live channel, and whose fault it was.

    ValueError, TypeError      the caller's: a wrong argument, raised at the door
    LiveError
    ├── WrongWatches           the file's: the list of watched functions holds something else; it names the place
    ├── WrongKeys              the folder's: a key is missing, is none, or can be read by others
    └── Unavailable            the machine's: an address that cannot be had, a state that is of something else

An agent that is not let in raises nothing: it says why (`Agent.standing`), and tries again.
"""


class LiveError(Exception):
    """Base of what heflwr.live raises besides ValueError and TypeError."""


class WrongWatches(LiveError):
    """The list of watched functions is none."""


class WrongKeys(LiveError):
    """A folder of keys cannot be used."""


class Unavailable(LiveError):
    """What was asked for cannot be had here."""
