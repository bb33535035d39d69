"""What can be chosen in the manifests, each value checked before it comes near YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields

from heflwr import __version__

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_HOST_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?"
_HOST = rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*(?::[0-9]{{1,5}})?"
_PATH = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_SCALES = {"m": 0.001, "": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must look like.

    Attributes:
        pattern: The whole value matches it.
        wanted: The same in words.
        longest: Most characters, where the pattern does not say it.
        least: Smallest quantity, "" for any.
    """

    pattern: str
    wanted: str
    longest: int = 400
    least: str = ""

    def takes(self, value: object) -> bool:
        """Tell whether a value is as wanted."""
        if not isinstance(value, str) or len(value) > self.longest or not re.fullmatch(self.pattern, value):
            return False
        return not self.least or _quantity(value) >= _quantity(self.least)


def _quantity(text: str) -> float:
    """Return a quantity of Kubernetes in cores, or in bytes."""
    digits = re.match(r"[0-9]+", text)
    assert digits is not None
    return int(digits[0]) * _SCALES[text[digits.end() :]]


DNS_LABEL = Rule(_LABEL, "1 to 63 of a-z, 0-9 and -, no - at either end (RFC 1123)")
NAMESPACE = Rule(
    rf"(?!default\Z|kube-){_LABEL}",
    f"{DNS_LABEL.wanted}, and one of its own: not default, nothing that begins with kube-, whose pods would be cut off",
)
DNS_SUBDOMAIN = Rule(_DOMAIN, "labels of a-z, 0-9 and - with dots between, 253 characters at most (RFC 1123)", 253)
IMAGE = Rule(
    rf"(?:{_HOST}/)?{_PATH}(?:/{_PATH})*(?::(?!latest\Z){_TAG}(?:@{_DIGEST})?|@{_DIGEST})",
    "[HOST[:PORT]/]NAME:TAG or NAME@sha256:DIGEST, and a tag that stays the same: not latest, not none",
)
BYTES = Rule(r"[1-9][0-9]{0,8}(?:Ki|Mi|Gi|Ti)", "a whole number of Ki, Mi, Gi or Ti, such as 5Gi")
MEMORY = Rule(BYTES.pattern, f"{BYTES.wanted}, 512Mi at least: the request of a SuperNode", least="512Mi")
CPU = Rule(
    r"[1-9][0-9]{0,5}m|[1-9][0-9]{0,3}",
    "cores or thousandths of one, such as 2 or 500m, 250m at least: the request of a SuperNode",
    least="250m",
)
NODE_LABEL = Rule(
    rf"(?:{_DOMAIN}/)?{_NAME}=(?:{_NAME})?",
    "NAME=VALUE as in `kubectl get nodes --show-labels`, 253 characters at most",
    253,
)


_REGISTRY = "registry.example/heflwr"
"""Where nobody's images are: there are none of heflwr's in any registry, and a name at large could become anybody's."""


def _value(default: str, rule: Rule, help: str) -> str:
    return field(default=default, metadata={"rule": rule, "help": help})


@dataclass(frozen=True, slots=True)
class Values:
    """What the manifests are filled with.

    Raises:
        ValueError: A value that Kubernetes would refuse, or that could be read as anything but itself.
    """

    namespace: str = _value("heflwr", NAMESPACE, "where everything is, and nothing else")
    image: str = _value(f"{_REGISTRY}/collector:{__version__}", IMAGE, "the collector's image")
    flower_image: str = _value(
        f"{_REGISTRY}/flower:{__version__}", IMAGE, "of SuperLink and SuperNodes, with the apps' needs"
    )
    storage: str = _value("5Gi", BYTES, "the collector's disk")
    token_secret: str = _value("heflwr-collector", DNS_SUBDOMAIN, "Secret whose key `token` is the collector's token")
    prometheus_namespace: str = _value("monitoring", DNS_LABEL, "the one that Prometheus scrapes from")
    node_label: str = _value("kubernetes.io/os=linux", NODE_LABEL, "the nodes that get a SuperNode")
    cpu: str = _value("2", CPU, "most that a SuperNode may use, its training included")
    memory: str = _value("2Gi", MEMORY, "most that a SuperNode may use, its training included")

    def __post_init__(self) -> None:
        for one in fields(self):
            value, rule = getattr(self, one.name), one.metadata["rule"]
            if not rule.takes(value):
                raise ValueError(f"{one.name.replace('_', '-')} must be {rule.wanted}; got {value!r}")
        if self.namespace == self.prometheus_namespace:
            raise ValueError(
                "namespace must be another than prometheus-namespace: its policies would cut Prometheus off; "
                f"got {self.namespace!r}"
            )
