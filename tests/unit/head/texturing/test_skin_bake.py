"""The whole bake on a synthetic head and photo, where every right answer is known."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from assets.mesh import split_quads
from face3d.head import Head, MeshPart
from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, PreprocessedPhoto
from gpu_workers.engines.null.head import make_head
from gpu_workers.head.model.head_template import BustData, HeadData, PartData
from gpu_workers.head.model.posed_head import HostHead
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.segmentation import face_masks, landmark_outlines
from gpu_workers.head.stages.texture import bake_head
from gpu_workers.head.texturing import projection, skin_bake
from gpu_workers.head.texturing.map_baker import MapBaker
from tests.unit.head.graph_support import eager_runtime
from tests.unit.waiting import NoWaiting

pytestmark = pytest.mark.heavy

SIZE = 256
SKIN = (205, 160, 135)


def make_scene() -> tuple[HeadData, Head]:
    """Return data and head of the null engine's ellipsoid before a 256 px camera."""
    head = make_head()
    tongue = dataclasses.replace(head.part("eye_left"), name="tongue", material="mouth")
    teeth = dataclasses.replace(head.part("eye_right"), name="teeth_upper", material="mouth")
    meshes = (*head.parts, tongue, teeth)
    factor = SIZE / head.camera.width
    camera = dataclasses.replace(
        head.camera,
        focal=tuple(f * factor for f in head.camera.focal),
        centre=tuple(c * factor for c in head.camera.centre),
        width=SIZE,
        height=SIZE,
    )
    positions = np.concatenate([mesh.positions for mesh in meshes])
    first = np.cumsum([0] + [len(mesh.positions) for mesh in meshes])
    parts = tuple(_describe(mesh, int(start)) for mesh, start in zip(meshes, first, strict=False))
    skin = len(head.parts[0].positions)
    forward = head.parts[0].positions[:, 2]
    empty = np.zeros((0, len(positions), 3), np.float32)
    data = HeadData(
        version="test",
        parts=parts,
        positions=positions,
        bust=BustData(part=parts[0], positions=positions, joint_weights=meshes[0].joint_weights),
        identity=empty,
        local_changes=empty,
        local_change_names=(),
        local_change_pairs=np.zeros((0, 2), np.int32),
        actions=np.concatenate([mesh.morph_deltas for mesh in meshes], axis=1),
        shapes=np.concatenate([mesh.morph_deltas for mesh in meshes], axis=1),
        joint_weights=np.concatenate([mesh.joint_weights for mesh in meshes]),
        mirror_vertices=np.arange(len(positions), dtype=np.int32),
        masks={
            "face": (forward > -0.05).astype(np.float32),
            "scalp": (forward < -0.13).astype(np.float32),
            "mouth_interior": np.zeros(skin, np.float32),
        },
        landmark_vertices=np.zeros((478, 3), np.int32),
        landmark_weights=np.zeros((478, 3), np.float32),
        landmark_mirror=np.arange(478, dtype=np.int32),
        landmark_trust=np.ones(478, np.float32),
        score_baseline=np.zeros(52, np.float32),
        residual_map=np.zeros((skin, 468), np.float32),
        iris_uv_centre=(0.5, 0.5),
        iris_uv_radius=0.2,
        eyeball_radius=0.012,
        iris_radius=0.0058,
    )
    return data, dataclasses.replace(head, parts=meshes, camera=camera)


def _describe(mesh: MeshPart, first: int) -> PartData:
    return PartData(
        name=mesh.name,
        material=mesh.material,
        first=first,
        count=len(mesh.positions),
        quads=mesh.quads,
        uvs=mesh.uvs,
        uv_quads=mesh.uv_quads,
        triangles=split_quads(mesh.quads),
        uv_triangles=_split_uvs(mesh),
        uv_islands=np.zeros(len(mesh.uvs), np.int32),
        source_vertices=np.arange(len(mesh.positions), dtype=np.int32),
        host_vertices=np.zeros(0, np.int32),
        host_weights=np.zeros((0, 0), np.float32),
        host_offsets=np.zeros((0, 3), np.float32),
        coarse=None,
    )


def _split_uvs(mesh: MeshPart) -> np.ndarray:
    rows = []
    for quad, uv in zip(mesh.quads.tolist(), mesh.uv_quads.tolist(), strict=True):
        rows.append(uv[:3])
        if quad[2] != quad[3]:
            rows.append([uv[0], uv[2], uv[3]])
    return np.array(rows, np.int32)


def project(head: Head, points: np.ndarray) -> np.ndarray:
    camera = head.camera
    placed = points @ camera.rotation.T + camera.translation
    return placed[:, :2] / placed[:, 2:] * camera.focal + camera.centre


def make_landmarks(head: Head) -> np.ndarray:
    """Return the landmarks that the masks are made from, where a face on the ellipsoid has them."""
    landmarks = np.full((478, 2), 128.0, np.float32)
    oval = landmark_outlines.FACE_OVAL
    turn = np.linspace(0, 2 * np.pi, len(oval), endpoint=False)
    contour = np.stack([0.068 * np.sin(turn), -0.01 + 0.105 * np.cos(turn), np.full(len(oval), -0.06)], 1)
    landmarks[list(oval)] = project(head, contour)
    named = {33: (-0.045, 0.0), 263: (0.045, 0.0), 2: (0, -0.05), 152: (0, -0.11)}
    named |= {
        index: (x, 0.02)
        for index, x in zip(landmark_outlines.UPPER_BROWS, np.linspace(-0.045, 0.045, 10), strict=True)
    }
    for index, (x, y) in named.items():
        landmarks[index] = project(head, np.array([[x, y, 0.0]]))[0]
    for patch, (x, y) in zip(
        landmark_outlines.SKIN_PATCHES, ((-0.03, -0.03), (0.03, -0.03), (0, 0), (0, -0.03)), strict=True
    ):
        corners = np.array(
            [
                [x - 0.01, y - 0.01, 0],
                [x + 0.01, y - 0.01, 0],
                [x + 0.01, y + 0.01, 0],
                [x - 0.01, y + 0.01, 0],
            ]
        )
        landmarks[list(patch)] = project(head, corners)
    return landmarks


@pytest.fixture(scope="module")
def scene() -> tuple[MapBaker, Head]:
    data, head = make_scene()
    return MapBaker(data, DeviceRuntime(torch.device("cpu"))), head


def prepare(photo: np.ndarray, landmarks: np.ndarray) -> PreprocessedPhoto:
    # The bake reads neither expression nor camera.
    return PreprocessedPhoto(photo=photo, landmarks=landmarks, scores=np.zeros(52), camera=np.zeros(3))


def bake(scene: tuple[MapBaker, Head], photo: np.ndarray, **options: object) -> BakedMaps:
    baker, head = scene
    prepared = prepare(photo, make_landmarks(head))
    chosen = JobOptions(**{"texture_size": 1024, **options})
    return bake_head(prepared, head, baker, chosen)


def texel_of(head: Head, point: tuple[float, float, float], size: int) -> tuple[int, int]:
    """Return row and column of the texel whose quad lies nearest to a point of the skin."""
    part = head.part("skin")
    centres = part.positions[part.quads].mean(1)
    uv = part.uvs[part.uv_quads[np.linalg.norm(centres - point, axis=1).argmin()]].mean(0)
    return int((1 - uv[1]) * size), int(uv[0] * size)


def plain_photo() -> np.ndarray:
    photo = np.full((SIZE, SIZE, 3), (30, 60, 200), np.uint8)
    photo[20:236, 40:216] = SKIN
    return photo


@pytest.fixture(scope="module")
def plain(scene: tuple[MapBaker, Head]) -> BakedMaps:
    return bake(scene, plain_photo())


def test_masks_that_are_made_already_are_taken(
    scene: tuple[MapBaker, Head], plain: BakedMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    baker, head = scene
    photo, landmarks = plain_photo(), make_landmarks(head)
    masks = face_masks.find_masks(photo, landmarks, torch.device("cpu"))

    def refuse(*_: object) -> None:
        raise AssertionError("the masks were made again")

    monkeypatch.setattr(baker.masks, "find", refuse)
    prepared = prepare(photo, landmarks)
    options = JobOptions(texture_size=1024)
    given = bake_head(prepared, head, baker, options, masks=masks)
    np.testing.assert_array_equal(given.skin, plain.skin)


def test_the_face_gets_the_photos_colour_and_the_back_the_same_skin(
    scene: tuple[MapBaker, Head], plain: BakedMaps
) -> None:
    skin = plain.skin.astype(int)
    assert skin.shape == (1024, 1024, 3)
    for point in ((0.0, -0.02, 0.01), (0.07, -0.05, -0.09)):
        row, column = texel_of(scene[1], point, 1024)
        found = skin[row - 6 : row + 6, column - 6 : column + 6].reshape(-1, 3).mean(0)
        assert np.abs(found - SKIN).max() < 18, (point, found)


def test_no_background_is_painted_on_the_head(scene: tuple[MapBaker, Head]) -> None:
    photo = np.full((SIZE, SIZE, 3), (0, 255, 0), np.uint8)
    camera = scene[1].camera
    outline = project(scene[1], scene[1].part("skin").positions)
    row, column = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    half = np.ptp(outline, axis=0) / 2
    middle = outline.mean(0)
    inside = ((column - middle[0]) / half[0]) ** 2 + ((row - middle[1]) / half[1]) ** 2 < 0.98
    photo[inside] = SKIN
    assert camera.width == SIZE
    skin = bake(scene, photo).skin.astype(int)
    assert (skin[..., 1] <= skin[..., 0] + 6).all(), "green of the background is on the skin"


def test_a_mark_on_one_cheek_is_where_it_was(scene: tuple[MapBaker, Head]) -> None:
    head = scene[1]
    part = head.part("skin")
    point = part.positions[part.quads].mean(1)
    point = point[np.linalg.norm(point - (0.03, -0.03, 0.0), axis=1).argmin()]
    x, y = project(head, point[None])[0]
    photo = plain_photo()
    photo[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = (90, 40, 30)
    skin = bake(scene, photo, sharpen=False).skin.astype(int)
    row, column = texel_of(head, tuple(point), 1024)
    assert skin[row, column].sum() < sum(SKIN) - 120
    other_row, other_column = texel_of(head, (-point[0], point[1], point[2]), 1024)
    assert skin[other_row, other_column].sum() > sum(SKIN) - 60


def test_facts_add_up(plain: BakedMaps) -> None:
    shares = plain.facts["texel_shares"]
    assert set(shares) == {"observed", "mirrored", "completed"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["observed"] > 0.15
    # Focal length over distance, 435 px at 0.6 m, is what a surface square to the camera has.
    assert 0.6 * 435 / 0.6 / 100 < plain.facts["texel_density"]["photo"] < 435 / 0.6 / 100
    # The map's width runs once round the ellipsoid.
    round_about = 2 * np.pi * np.hypot(0.075, 0.095) / 2**0.5 * 100
    assert plain.facts["texel_density"]["map"] == pytest.approx(1024 / round_about, rel=0.5)
    assert set(plain.albedos()) == {"skin", "eyes", "mouth", "lashes"}
    for image in vars(plain.surface).values():
        assert image.shape[:2] == plain.skin.shape[:2]
    assert plain.surface.displacement.dtype == np.uint16


def test_who_wants_no_surface_maps_does_not_wait_for_them(scene: tuple[MapBaker, Head]) -> None:
    without = bake(scene, plain_photo(), formats=("glb",))
    assert set(without.albedos()) == {"skin", "eyes", "mouth", "lashes"}
    assert without.surface is None
    assert "surface" not in without.facts["timings"]


def test_sharpening_raises_contrast(scene: tuple[MapBaker, Head]) -> None:
    photo = plain_photo()
    photo[90:190:6, 90:170] = (180, 140, 118)
    soft, sharp = (bake(scene, photo, sharpen=value).skin.astype(float) for value in (False, True))
    row, column = texel_of(scene[1], (0.0, -0.02, 0.01), 1024)
    window = np.s_[row - 60 : row + 60, column - 30 : column + 30, 0]
    assert sharp[window].std() > 1.05 * soft[window].std()


@pytest.mark.parametrize("tone", [(92, 58, 44), (232, 196, 178)], ids=["dark", "light"])
def test_dark_and_light_skin_keep_their_tone_all_round(
    scene: tuple[MapBaker, Head], tone: tuple[int, int, int]
) -> None:
    photo = plain_photo()
    photo[20:236, 40:216] = tone
    skin = bake(scene, photo).skin.astype(int)
    for point in ((0.0, -0.02, 0.01), (0.07, -0.05, -0.09)):
        row, column = texel_of(scene[1], point, 1024)
        found = skin[row - 6 : row + 6, column - 6 : column + 6].reshape(-1, 3).mean(0)
        assert np.abs(found - tone).max() < 18, (point, found)


def test_a_half_in_hard_shadow_blackens_neither_face_nor_sides(scene: tuple[MapBaker, Head]) -> None:
    photo = plain_photo()
    photo[20:236, 150:216] = (78, 54, 42)
    skin = bake(scene, photo).skin.astype(int)
    lit = np.array(SKIN).mean()
    for side in (-1, 1):
        row, column = texel_of(scene[1], (0.07 * side, -0.05, -0.09), 1024)
        assert skin[row - 6 : row + 6, column - 6 : column + 6].mean() > 0.7 * lit
    row, column = texel_of(scene[1], (0.035, -0.03, 0.0), 1024)
    shadow = skin[row - 6 : row + 6, column - 6 : column + 6].mean()
    assert shadow > 0.5 * lit > photo[100, 200].mean()


def test_once_warm_the_bake_never_waits_for_the_device(scene, monkeypatch):
    """A CUDA graph holds all of it; depth map and last pass are Triton kernels there."""
    maker, head = scene
    photo = torch.tensor(SKIN, dtype=torch.uint8).expand(SIZE, SIZE, 3)
    whole = torch.ones(SIZE, SIZE)
    masks = face_masks.FaceMasks(
        photo=photo, confidence=whole, skin=whole, reduction=1, measures=torch.zeros(2)
    )
    request = skin_bake.BakeRequest(head=HostHead(head), masks=masks, sharpen=True, size=1024)
    monkeypatch.setattr(skin_bake, "compose_skin", lambda photo, *_: photo)
    monkeypatch.setattr(projection, "_depth_map", lambda _1, _2, _3, size: torch.ones(size))
    monkeypatch.setattr(skin_bake, "triton_available", lambda _: True)
    runtime = eager_runtime()
    guards, bake_tensors = iter((nullcontext(), NoWaiting(), NoWaiting())), skin_bake.SkinBaker._bake_tensors

    def bake_guarded(*inputs: object) -> skin_bake.SkinBake:
        # The first time makes constants.
        with next(guards):
            return bake_tensors(*inputs)

    monkeypatch.setattr(skin_bake.SkinBaker, "_bake_tensors", bake_guarded)
    baker = skin_bake.SkinBaker(maker.atlas, runtime)
    for _ in range(2):
        with torch.inference_mode(), baker.bake(request) as found:
            assert found.measures.shape == (9,)
    assert runtime.maps.captured == 1
    assert next(guards, None) is None
