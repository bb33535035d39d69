"""Grafana dashboards over the names, units and sentences of heflwr's own tables; `../generate.py` writes them."""
