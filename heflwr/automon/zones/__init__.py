"""What a node checks, a file a family; numbers and NumPy only."""

from heflwr.automon.zones.affine import AffineZone
from heflwr.automon.zones.dc import DcZone
from heflwr.automon.zones.halfspaces import HalfSpaces
from heflwr.automon.zones.moments import MomentsZone
from heflwr.automon.zones.quadratic import QuadraticZone
from heflwr.automon.zones.zone import CentredZone, PointFunction, Unfinished, ViolationKind, Zone

__all__ = [
    "AffineZone",
    "CentredZone",
    "DcZone",
    "HalfSpaces",
    "MomentsZone",
    "PointFunction",
    "QuadraticZone",
    "Unfinished",
    "ViolationKind",
    "Zone",
]
