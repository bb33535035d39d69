"""heflwr: what training really costs on every client of a federation."""

__version__ = "1.0.0.dev0"
