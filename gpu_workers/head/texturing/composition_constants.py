"""Numbers of the skin's last pass, which the plain composition and its kernel share."""

from dataclasses import dataclass

#: Coefficient a of Keys' cubic convolution (IEEE Trans. ASSP 29, 1981, equation 4): that of torch's
#: `grid_sample`.
BICUBIC = -0.75
#: Code values of an 8-bit map.
CODES = 255


@dataclass(frozen=True, kw_only=True)
class HairLook:
    """How short hair is laid over the scalp, by its density 0..1 and by noise of single strands."""

    #: Cover is (density * `density` + strand * `raggedness` - `threshold`) * `steepness`, 0..1.
    density: float = 1.5
    #: How far single strands reach over the hairline.
    raggedness: float = 0.20
    threshold: float = 0.55
    steepness: float = 1.8
    #: Where hair is thinner than one in N parts, the cover goes out with the density.
    fade: float = 8.0
    #: The rest is skin that shows through where hair is densest.
    cover: float = 0.95
    #: How much strands differ in brightness, and the darkest.
    contrast: float = 0.30
    darkest: float = 0.35


HAIR = HairLook()
