"""What a photo may be."""

from dataclasses import dataclass
from typing import Self

from face3d.settings import Settings


@dataclass(frozen=True, kw_only=True)
class PhotoLimits:
    """Limits of a photo and of its decoding; the settings hold the values."""

    max_bytes: int = 64 * 2**20
    max_megapixels: float = 64.0
    min_eye_distance_px: float = 40.0
    max_yaw_degrees: float = 30.0
    max_pitch_degrees: float = 25.0
    #: A second face larger than this share of the largest makes `several_faces`.
    second_face_share: float = 0.5
    decode_seconds: float = 5.0
    decode_memory_mb: int = 1024
    #: auto, required or off; see the setting of this name.
    decoder_sandbox: str = "auto"

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the limits that the settings state."""
        return cls(
            max_bytes=settings.max_bytes,
            max_megapixels=settings.max_megapixels,
            min_eye_distance_px=settings.min_eye_distance_px,
            max_yaw_degrees=settings.max_yaw_degrees,
            max_pitch_degrees=settings.max_pitch_degrees,
            decoder_sandbox=settings.decoder_sandbox,
        )
