"""What a node checks, a file a family; numbers and NumPy only."""

from heflwr.automon.zones.dc import DcZone
from heflwr.automon.zones.quadratic import QuadraticZone
from heflwr.automon.zones.zone import PointFunction, Unfinished, ViolationKind, Zone

__all__ = ["DcZone", "PointFunction", "QuadraticZone", "Unfinished", "ViolationKind", "Zone"]
