"""What the bake knows of the skin's UV map before it sees a photo; made once an engine."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, minimum_filter
from scipy.spatial import cKDTree
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import HeadData, PartData
from gpu_workers.head.model.mediapipe_landmarks import OUTER_EYE_CORNERS
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.uv_rasterization import AtlasRaster, interpolate, rasterise_atlas

#: Pixels a side of the maps of smooth quantities (coordinates, weights, light, tone).
WORK_SIZE = 1024
#: So far behind the lips the mouth is dark, metres.
_THROAT_DEPTH = 0.045
#: Texels over which another chart's rim takes the colour across its seam, and points looked at on an edge.
_SEAM_REACH, _SEAM_POINTS = 18.0, 6
#: Above 1 by the share of that reach which is joined in full.
_SEAM_FULL = 1.25
#: So far down an upper lid's rim moves at least when the eye shuts, metres.
_LID_TRAVEL = 0.007
#: Skin that moves so far with one of these lies in a smile's folds, metres.
_SMILE_TRAVELS = (("mouthSmile", 0.004), ("cheekSquint", 0.004))
#: Landmarks of the mouth's corners and of the eyes' outer ones; up to where all is theirs, and from where
#: nothing, metres.
_CORNERS, _CORNER_REACH = (61, 291, *OUTER_EYE_CORNERS), (0.006, 0.010)
#: Texels about a smile's folds in which nothing changes: what is looked for there wraps round.
_SMILE_MARGIN = 24
#: Hair before the ear: how far it reaches from the ear, pixels, and down it, a share of the ear's height.
_SIDEBURN_WIDTH, _SIDEBURN_LENGTH = 30, 0.55
MASKS = (
    "lips", "mouth_interior", "eye_socket", "brows", "face", "ears", "scalp", "eyelid_rim", "conjunctiva",
    "caruncle", "seam",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SkinAtlas:
    """Constant maps of the skin, each WORK_SIZE a side; row 0 lies at v = 1."""

    raster: AtlasRaster
    #: Number of the skin's vertices.
    vertex_count: int
    #: (M, 3) int64 the skin's triangles, rows of its vertices.
    triangles: Tensor
    #: (N, 3) int64 triangles of what can hide skin: the skin's, then the eyes', whose vertices follow.
    occluders: Tensor
    #: (S, S) bool: the texel lies on a chart.
    covered: Tensor
    #: (S, S) bool: the texel lies on the chart of the face, which is symmetric about u = 0.5.
    main: Tensor
    #: Name to (S, S) float32 in 0..1.
    masks: dict[str, Tensor]
    #: (1, S, S) float32: 1 on the face chart, softly 0 towards the mouth's inside and the eye sockets.
    outside: Tensor
    #: (S, S) float32: 1 at the rims of the upper lids, 0 where nothing moves when the eyes shut.
    upper_lids: Tensor
    #: Rows and columns that hold all of a smile's folds, multiples of 8.
    smile_window: tuple[slice, slice]
    #: (2, H, W) float32 of that window, in 0..1: where a smile folds the skin, beside nose and mouth and
    #: under the eyes; by the left side of a mouth, and by the right.
    smile_folds: Tensor
    #: (S, S) float32 in 0..1: about the corners of the mouth and the outer ones of the eyes.
    corners: Tensor
    #: (S, S) float32 in 0..1: before the ears, where hair grows.
    sideburns: Tensor
    #: (2, S, S) for texels of other charts: x and y, shares of the map's size, of the face chart's nearest
    #: texel across the seam; and (1, S, S) 1 at the seam, 0 away from it and on the face chart.
    across: Tensor
    seam: Tensor
    #: (S, S) float32, 0 at the lips, 1 deep in the mouth, where no light comes.
    throat: Tensor
    #: (M,) how many texels of the face lie on each triangle.
    face_texels: NDArray[np.int64]
    #: (M, 3) `triangles` on the CPU.
    host_triangles: NDArray[np.int32]

    def spread(self, values: Tensor) -> Tensor:
        """Return (C, S, S): the skin's vertex values (V, C) on the map."""
        return interpolate(values, self.triangles, self.raster).permute(2, 0, 1).contiguous()


def build_skin_atlas(data: HeadData, device: torch.device) -> SkinAtlas:
    """Return the atlas of a topology on a device."""
    skin = data.part("skin")
    uvs = torch.from_numpy(skin.uvs).to(device)
    uv_triangles = torch.from_numpy(skin.uv_triangles).long().to(device)
    triangles = torch.from_numpy(skin.triangles).long().to(device)
    raster, covered = rasterise_atlas(uvs, uv_triangles, WORK_SIZE)
    island = torch.from_numpy(skin.uv_islands).to(device)[uv_triangles[:, 0]]
    main = island[raster.triangle] == 0
    names = [name for name in MASKS if name in data.masks]
    stack = torch.from_numpy(np.stack([data.masks[name] for name in names], 1)).float().to(device)
    spread = interpolate(stack, triangles, raster).clamp(0, 1)
    masks = {name: spread[..., i].contiguous() for i, name in enumerate(names)}
    forward = data.positions[skin.vertices, 2]
    inner = forward[data.masks["mouth_interior"] > 0.5] if "mouth_interior" in data.masks else forward
    front = float(inner.max(initial=float(forward.min())))
    positions = torch.from_numpy(data.positions[skin.vertices]).float().to(device)
    depth = torch.from_numpy((front - forward)[:, None]).float().to(device)
    zeros = torch.zeros(WORK_SIZE, WORK_SIZE, device=device)
    for name in MASKS:
        masks.setdefault(name, zeros)
    face = (masks["face"] > 0.5) & main & covered
    moving = np.stack([_find_upper_lids(data, skin), *_find_smile(data, skin)], 1)
    lids, *smile = interpolate(torch.from_numpy(moving).to(device), triangles, raster).clamp(0, 1).unbind(-1)
    smile_folds = torch.stack(smile) * main * _find_plain_skin(masks)
    smile_window = frame_mask(smile_folds.amax(0) > 0, _SMILE_MARGIN)
    ears = (masks["ears"] * main).cpu().numpy()
    hidden = torch.maximum(masks["mouth_interior"], masks["eye_socket"]).cpu().numpy()
    outside = gaussian_filter(minimum_filter(1 - hidden, 9), 2)
    across, seam = _find_seams(skin, main.cpu().numpy())
    return SkinAtlas(
        raster=raster,
        vertex_count=skin.count,
        triangles=triangles,
        occluders=_list_occluders(data, skin).to(device),
        host_triangles=skin.triangles,
        face_texels=torch.bincount(raster.triangle[face], minlength=len(triangles)).cpu().numpy(),
        covered=covered,
        main=main,
        masks=masks,
        outside=torch.from_numpy(outside)[None].to(device) * main,
        upper_lids=lids * main,
        corners=_find_corners(data, interpolate(positions, triangles, raster)) * main,
        smile_window=smile_window,
        smile_folds=smile_folds[:, smile_window[0], smile_window[1]].contiguous(),
        sideburns=torch.from_numpy(_find_sideburns(ears)).to(device),
        across=torch.from_numpy(across).to(device),
        # Behind the lips' rim the mouth's lining begins at once.
        seam=torch.from_numpy(seam).to(device) * (1 - masks["mouth_interior"]),
        throat=(interpolate(depth, triangles, raster)[..., 0] / _THROAT_DEPTH).clamp(0, 1),
    )


def _find_upper_lids(data: HeadData, skin: PartData) -> NDArray[np.float32]:
    """Return (V,) how far down the skin moves when both eyes shut, shares of a lid's travel."""
    rows = [ARKIT_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    down = -data.shapes[rows][:, skin.vertices, 1].sum(0)
    return np.asarray(np.clip(down / _LID_TRAVEL, 0, 1), np.float32)


def _find_smile(data: HeadData, skin: PartData) -> NDArray[np.float32]:
    """Return (2, V) in 0..1: how far the skin moves when the mouth smiles, by what either side does."""
    sides = []
    for side in ("Left", "Right"):
        moved = np.zeros(skin.count)
        for name, travel in _SMILE_TRAVELS:
            shape = data.shapes[ARKIT_NAMES.index(name + side), skin.vertices]
            moved = np.maximum(moved, np.linalg.norm(shape, axis=1) / travel)
        sides.append(moved)
    both = np.array(sides)
    # Where the sides meet each has its share, so that together they are no more than one.
    return np.asarray(both / np.maximum(both.sum(0), 1), np.float32)


def _find_corners(data: HeadData, place: Tensor) -> Tensor:
    """Return (S, S) in 0..1: near the corners, of texels that lie at (S, S, 3) on the mean head, metres."""
    rows = list(_CORNERS)
    points = data.positions[data.landmark_vertices[rows]] * data.landmark_weights[rows][..., None]
    corners = torch.from_numpy(points.sum(1)).float().to(place.device)
    distance = torch.stack([(place - corner).norm(dim=-1) for corner in corners]).amin(0)
    full, none = _CORNER_REACH
    return smoothstep((none - distance) / (none - full))


def _find_plain_skin(masks: dict[str, Tensor]) -> Tensor:
    """Return (S, S) in 0..1: 0 on lips, brows, the rims of lids, and within mouth and eye sockets."""
    others = [masks[name] for name in ("lips", "mouth_interior", "eye_socket", "brows", "eyelid_rim")]
    return 1 - torch.stack(others).amax(0)


def frame_mask(mask: Tensor, margin: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's box with a margin, grown to multiples of 8."""
    box = []
    for along, size in ((1, mask.shape[0]), (0, mask.shape[1])):
        used = mask.any(along).nonzero()[:, 0].tolist() or [0]
        first, last = max(used[0] - margin, 0), min(used[-1] + margin, size - 1)
        box.append(slice(first // 8 * 8, -(-(last + 1) // 8) * 8))
    return box[0], box[1]


def _find_sideburns(ears: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (S, S) in 0..1: a strip from above each ear down along its side to the face, fading out."""
    rows = np.flatnonzero((ears > 0.5).any(1))
    if not len(rows):
        return np.zeros_like(ears)
    height, middle = rows[-1] - rows[0] + 1, ears.shape[1] // 2
    strip = np.zeros_like(ears)
    for shift in range(4, _SIDEBURN_WIDTH):
        strip[:, shift:middle] = np.maximum(strip[:, shift:middle], ears[:, : middle - shift])
        strip[:, middle:-shift] = np.maximum(strip[:, middle:-shift], ears[:, middle + shift :])
    rise = height // 2
    raised = np.maximum.reduce([np.roll(strip, -step, axis=0) for step in range(0, rise, 4)])
    down = (np.arange(len(ears)) - rows[0]) / (_SIDEBURN_LENGTH * height)
    raised *= np.clip(1 - down, 0, 1)[:, None] * (1 - ears)
    return np.asarray(gaussian_filter(raised, 6), np.float32)


def _find_seams(skin: PartData, main: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `SkinAtlas.across` and `SkinAtlas.seam`."""
    size = len(main)
    edges: dict[tuple[int, int], tuple[int, int]] = {}
    for face, uv_face in zip(skin.triangles.tolist(), skin.uv_triangles.tolist(), strict=True):
        for k in range(3):
            edges[face[k], face[(k + 1) % 3]] = uv_face[k], uv_face[(k + 1) % 3]
    islands = skin.uv_islands
    cuts = [
        (*edges[end, start][::-1], *own)
        for (start, end), own in edges.items()
        if islands[own[0]] == 0 and (end, start) in edges and islands[edges[end, start][0]] != 0
    ]
    if not cuts:
        return np.zeros((2, size, size), np.float32), np.zeros((1, size, size), np.float32)
    corners = skin.uvs[np.array(cuts)] * [1, -1] + [0, 1]
    share = np.linspace(0, 1, _SEAM_POINTS)[None, :, None]
    beyond, here = (
        (corners[:, k, None] * (1 - share) + corners[:, k + 1, None] * share).reshape(-1, 2) for k in (0, 2)
    )
    texels = np.argwhere(~main)
    distance, nearest = cKDTree(beyond * size).query(texels[:, ::-1] + 0.5)
    across = np.zeros((2, size, size), np.float32)
    across[:, texels[:, 0], texels[:, 1]] = here[nearest].T
    seam = np.zeros((1, size, size), np.float32)
    seam[0, texels[:, 0], texels[:, 1]] = smoothstep(_SEAM_FULL - distance / _SEAM_REACH)
    return across, seam


def _list_occluders(data: HeadData, skin: PartData) -> Tensor:
    triangles, first = [skin.triangles], skin.count
    for part in data.parts:
        if part.material == "eyes":
            triangles.append(part.triangles + first)
            first += part.count
    return torch.from_numpy(np.concatenate(triangles)).long()
