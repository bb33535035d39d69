"""Manifests for Kubernetes: a collector, a SuperLink, a monitored SuperNode on every node, and who may scrape them."""

from heflwr.k8s.render import render, write
from heflwr.k8s.values import Values

__all__ = ["Values", "render", "write"]
