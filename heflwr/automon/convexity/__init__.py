"""What a jaxpr proves about how its function bends; a file for each kind of rule."""

from heflwr.automon.convexity.walk import Shape, shape_of

__all__ = ["Shape", "shape_of"]
