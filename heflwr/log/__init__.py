"""A logger for the user's own lines: on the console from the import on, and in a file or at a collector by configure().

    from heflwr.log import configure, log, logger

    configure("client-3", file="client.log", host="127.0.0.1:5000")
    logger.info("epoch %d", 3)
    log(logging.WARNING, "slow")

Importing adds one handler to the logger "heflwr", which writes INFO and above to stdout. Its records also go on to the
root logger, as those of any logger do; set `logger.propagate = False` where that prints them twice.
"""

from heflwr.log._configure import configure, log, logger

__all__ = ["configure", "log", "logger"]
