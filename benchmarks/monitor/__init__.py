"""heflwr's monitors beside a bare floor and other people's, measured in one run: `python -m benchmarks.monitor`."""
