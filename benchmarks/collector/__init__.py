"""The collector under load, beside Pushgateway and InfluxDB; `python -m benchmarks.collector` runs all of it."""
