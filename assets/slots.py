"""Material slots of a head: skin, eyes, corneas, lashes, teeth, gums, tongue; of one or more parts each."""

from dataclasses import dataclass

from face3d.head import Head, MeshPart

#: First word of a part's name to the slot that its sides or rows share; any other part is a slot of its own.
_SHARED = {
    "eye": "eyes",
    "cornea": "corneas",
    "lashes": "lashes",
    "teeth": "teeth",
    "gums": "gums",
    "face": "front",
}


@dataclass(frozen=True, kw_only=True)
class Slot:
    """What of a head has one material."""

    name: str
    #: Whose textures it has; teeth, gums and tongue share `mouth`.
    material: str
    parts: tuple[MeshPart, ...]


def name_slot(part: MeshPart) -> str:
    """Return the slot that a part belongs to."""
    return _SHARED.get(part.name.split("_")[0], part.name)


def find_slots(head: Head) -> tuple[Slot, ...]:
    """Return the slots in the order in which their first parts stand in the head."""
    grouped: dict[str, list[MeshPart]] = {}
    for part in head.parts:
        grouped.setdefault(name_slot(part), []).append(part)
    return tuple(
        Slot(name=name, material=parts[0].material, parts=tuple(parts)) for name, parts in grouped.items()
    )
