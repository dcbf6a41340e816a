"""Eyeballs as anatomy has them, whatever the head: spheres of one size, each with a cornea over its iris.

The polar angle of every constant is that about the line of sight, +z at rest.
"""

import math
from dataclasses import dataclass

from torch import Tensor

#: Metres: an adult's eyeball is 24 mm long, within 1 mm (Bekerman, Gottlieb and Vaiman, Variations in eyeball
#: diameters of the healthy adults, 2014).
EYEBALL_RADIUS = 0.012
#: Height of the cornea's bulge over the sphere, a share of the radius. A real one rises by 1.1 mm (radius of
#: curvature 7.8 mm); 0.5 mm is what lids that move by linear skinning pass over.
CORNEA_BULGE = 0.045
#: The bulge ends at this polar angle, the iris's rim being at 29 degrees.
_BULGE_END = math.cos(math.radians(32))


@dataclass(frozen=True)
class Eyeballs:
    """G eyeballs that look straight ahead; float64."""

    #: (G, 3) and () metres.
    centre: Tensor
    radius: Tensor

    def reach(self, directions: Tensor) -> Tensor:
        """Return how far sphere and cornea reach (G, ...) along unit vectors (G, ..., 3), metres."""
        return self.radius * (1 + bulge(directions[..., 2]))


def bulge(cosine: Tensor) -> Tensor:
    """Return the cornea's height over the sphere, a share of the radius, by the cosine of the polar angle."""
    # Linear in the cosine: a cap of a smaller sphere.
    height: Tensor = CORNEA_BULGE * ((cosine - _BULGE_END) / (1 - _BULGE_END)).clamp(min=0)
    return height
