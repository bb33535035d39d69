"""Messages and times of heflwr.automon beside a reference and the possible: `python -m benchmarks.automon`."""
