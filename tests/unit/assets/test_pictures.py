"""The renderer, the preview and the encoders of maps."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from assets.jpeg import decode_jpeg, encode_jpeg
from assets.maps import decode_embedded_map, encode_maps, select_asset_maps, select_embedded_maps
from assets.preview import lights
from assets.preview.lights import shade
from assets.preview.picture import render_preview
from assets.preview.raster import rasterise
from assets.preview.render import Finish, load_texture, render_rows, survey
from assets.preview.render import render as render_all
from assets.preview.scene import aim_camera, pose_head
from face3d.head import ARKIT_NAMES
from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.engines.null.head import make_head

HEAD = make_head()


def render(
    textures: dict[str, np.ndarray], yaw_degrees: float = 0.0, weights: np.ndarray | None = None
) -> np.ndarray:
    return render_all(
        pose_head(HEAD, aim_camera((96, 96), yaw_degrees=yaw_degrees), weights=weights), textures
    )


def plain_raster(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> dict[int, float]:
    """The slow twin: every triangle against every pixel; depth of the nearest that faces the camera."""
    nearest: dict[int, float] = {}
    for triangle in triangles:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[triangle].astype(float)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area >= 0:
            continue
        for pixel in range(height * width):
            x, y = pixel % width + 0.5, pixel // width + 0.5
            a = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
            b = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
            c = 1 - a - b
            if min(a, b, c) < -1e-4:
                continue
            depth = 1 / (a / az + b / bz + c / cz)
            nearest[pixel] = min(depth, nearest.get(pixel, depth))
    return nearest


def test_rasteriser_agrees_with_its_plain_twin() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.uniform(-5, 30, (24, 2)), rng.uniform(1, 2, (24, 1))], axis=1).astype(
        np.float32
    )
    triangles = rng.integers(0, 24, (30, 3)).astype(np.int32)
    seen = rasterise(points, triangles, 20, 25)
    expected = plain_raster(points, triangles, 20, 25)
    depth = (points[triangles[seen.triangles], 2] * seen.weights).sum(1)
    found = dict(zip(seen.pixels.tolist(), depth.tolist(), strict=True))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(seen.weights.sum(1), 1, atol=1e-5)


def test_weights_are_perspective_correct() -> None:
    """A far corner weighs less than its share of the screen: weights go with 1 / depth."""
    points = np.array([[0.5, 10.5, 1.0], [20.5, 10.5, 3.0], [0.5, 0.5, 1.0]], np.float32)
    seen = rasterise(points, np.array([[0, 1, 2]], np.int32), 12, 22)
    (row,) = np.flatnonzero(seen.pixels == 9 * 22 + 9)
    depth = 1 / (1 / points[:, 2] @ [0.55 - 0.1, 0.45, 0.1])
    assert seen.weights[row, 1] == pytest.approx(0.45 / 3 * depth, abs=1e-4)


def test_render_shows_colour_turn_and_shape() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    textures = {"skin": load_texture(red)}
    front = render(textures).astype(int)
    assert front.shape == (96, 96, 3)
    middle = front[55:65, 44:52].reshape(-1, 3).mean(0)
    assert middle[0] > 3 * middle[1]
    assert abs(front[2, 2] - front[2, -3]).max() <= 2, "the corners show background only"
    turned = render(textures, yaw_degrees=30).astype(int)
    weights = np.zeros(52, np.float32)
    weights[ARKIT_NAMES.index("jawOpen")] = 1
    posed = render(textures, weights=weights).astype(int)
    assert np.abs(turned - front).max() > 40
    assert np.abs(posed - front).max() > 20


def test_strips_are_the_rows_of_the_whole_picture() -> None:
    noise = np.random.default_rng(5).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    textures = {"skin": load_texture(noise)}
    posed = pose_head(HEAD, aim_camera((96, 96), yaw_degrees=30))
    strips = [render_rows(posed, textures, rows) for rows in ((0, 31), (31, 64), (64, 96))]
    difference = np.concatenate(strips).astype(int) - render(textures, yaw_degrees=30)
    # Rounding may move a pixel on a triangle's edge to its neighbour.
    assert (np.abs(difference).max(axis=2) > 2).mean() < 0.002


def test_a_picture_in_many_pieces_is_that_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render({"skin": np.full((8, 8, 3), 0.5, np.float32)})
    monkeypatch.setattr("assets.preview.render._CHUNK", 1000)
    monkeypatch.setattr("assets.preview.raster._CHUNK", 5000)
    np.testing.assert_array_equal(render({"skin": np.full((8, 8, 3), 0.5, np.float32)}), whole)


def test_light_and_highlights_agree_with_their_plain_twin() -> None:
    rng = np.random.default_rng(5)
    albedo = rng.uniform(0, 1, (40, 3))
    normals, towards = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 40, 3)))
    roughness, key, sky = rng.uniform(0.2, 0.9, 40), rng.uniform(0, 1, 40), rng.uniform(0, 1, 40)
    points = (albedo, normals, towards, roughness, key, sky)
    matte, highlight = shade(*(np.ascontiguousarray(one.T, np.float32) for one in points))
    for p in range(40):
        plain_matte, plain_highlight = plain_shade(
            albedo[p], normals[p], towards[p], roughness[p], key[p], sky[p]
        )
        np.testing.assert_allclose(matte[:, p], plain_matte, atol=1e-5)
        np.testing.assert_allclose(highlight[p], plain_highlight, rtol=1e-3, atol=1e-5)


def plain_shade(
    albedo: np.ndarray, normal: np.ndarray, towards: np.ndarray, roughness: float, key: float, sky: float
) -> tuple[np.ndarray, float]:
    """One point under the studio's lamps, step by step."""
    up = (normal[1] + 1) / 2
    light = (up * np.array(lights._AMBIENT_UP) + (1 - up) * np.array(lights._AMBIENT_DOWN)) * sky
    exponent = np.clip(2 / roughness**4 - 2, *lights._EXPONENTS)
    highlight = 0.0
    for number, lamp in enumerate(lights._LIGHTS):
        direction = np.array(lamp.direction) / np.linalg.norm(lamp.direction)
        cosine, arrives, wrap = normal @ direction, key if number == 0 else 1.0, np.array(lamp.wrap)
        light += np.clip((cosine + wrap) / (1 + wrap), 0, 1) ** 2 * arrives * np.array(lamp.colour)
        half = (towards + direction) / np.linalg.norm(towards + direction)
        shine = lamp.gloss * (exponent + 8) / 8 * 0.028 * max(normal @ half, 0) ** exponent
        highlight += min(shine * np.clip(cosine * 4, 0, 1), lights._BRIGHTEST_GLOSS) * arrives
    return albedo * light, highlight


def test_a_turned_head_shows_its_left_side() -> None:
    """Texture by side: u over one half is the person's left, on the viewer's right."""
    sides = np.zeros((8, 64, 3), np.uint8)
    sides[:, :32] = (0, 0, 220)
    sides[:, 32:] = (220, 0, 0)
    picture = render({"skin": load_texture(sides)}, yaw_degrees=40).astype(int)
    red, blue = (picture[..., 0] > 100).sum(), (picture[..., 2] > 120).sum()
    left_u = HEAD.part("skin").uvs[HEAD.part("skin").uv_quads].mean(1)[:, 0]
    left_x = HEAD.part("skin").positions[HEAD.part("skin").quads].mean(1)[:, 0]
    left_is_red = np.corrcoef(left_u, left_x)[0, 1] > 0
    assert (red > 1.5 * blue) if left_is_red else (blue > 1.5 * red)


def test_a_head_stands_where_its_photos_camera_shows_it() -> None:
    camera = replace(HEAD.camera, width=120, height=90, focal=(300.0, 300.0), centre=(50.0, 40.0))
    finish = Finish(lit=False, transparent=False, background=(0.0, 0.0, 0.5))
    picture = render_all(pose_head(HEAD, camera), {}, finish).astype(int)
    assert picture.shape == (90, 120, 3)
    placed = HEAD.part("skin").positions @ camera.rotation.T + camera.translation
    pixels = placed[:, :2] / placed[:, 2:] * camera.focal + camera.centre
    rows, columns = np.nonzero(picture[..., 0] > 30)
    box = [max(columns.min(), 0), max(rows.min(), 0), columns.max() + 1, rows.max() + 1]
    low, high = np.maximum(pixels.min(0), 0), np.minimum(pixels.max(0), [120, 90])
    assert box == pytest.approx([*low, *high], abs=1.5)
    assert (picture[0, -1] == [0, 0, 188]).all(), "the background, as it was given"


def test_a_survey_tells_parts_colours_and_normals_without_light() -> None:
    red = load_texture(np.full((4, 4, 3), (200, 60, 60), np.uint8))
    seen = survey(pose_head(HEAD, aim_camera((80, 80))), {"skin": red})
    skin = seen.part == seen.materials.index("skin")
    assert 0.15 < skin.mean() < 0.6
    assert (seen.part[0] == -1).all()
    np.testing.assert_allclose(seen.albedo[skin], np.broadcast_to(red[0, 0], (int(skin.sum()), 3)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(seen.normals[skin], axis=1), 1, atol=1e-4)
    assert seen.normals[skin][:, 2].min() > -0.3
    columns = np.nonzero(skin)[1]
    assert np.corrcoef(columns, seen.normals[skin][:, 0])[0, 1] > 0.9, "x runs to the right"


def test_a_normal_map_turns_the_light_and_an_occlusion_map_takes_it() -> None:
    grey = load_texture(np.full((8, 8, 3), 150, np.uint8))
    flat, leaning = np.full((8, 8, 3), (0.5, 0.5, 1.0), np.float32), np.zeros((8, 8, 3), np.float32)
    leaning[:] = (0.15, 0.5, 0.85)
    plain = render({"skin": grey}).astype(int)
    same = render({"skin": grey, "skin.normal": flat}).astype(int)
    assert np.abs(same - plain).max() <= 1
    assert np.abs(render({"skin": grey, "skin.normal": leaning}).astype(int) - plain).max() > 20
    packed = np.full((8, 8, 3), (0.2, 0.55, 0.0), np.float32)
    assert render({"skin": grey, "skin.orm": packed}).astype(int).sum() < 0.97 * plain.sum()


def test_what_stands_before_the_lamp_casts_a_shadow() -> None:
    skin = HEAD.part("skin")
    high = 0.25 * (skin.positions - skin.positions.mean(0)) + skin.positions.mean(0)
    blocker = replace(
        skin, name="blocker", material="other", positions=high + np.float32([-0.09, 0.075, 0.14])
    )
    red = {"skin": load_texture(np.full((4, 4, 3), (200, 60, 60), np.uint8))}
    camera = aim_camera((96, 96))
    bare = render_all(pose_head(HEAD, camera), red).astype(int)
    shaded = render_all(pose_head(replace(HEAD, parts=(*HEAD.parts, blocker)), camera), red).astype(int)
    both = (bare[..., 0] > bare[..., 1] + 30) & (shaded[..., 0] > shaded[..., 1] + 15)
    assert (shaded[both][:, 0] < 0.8 * bare[both][:, 0]).sum() > 40


def preview(*, tint: int = 180, facts: tuple[tuple[str, str], ...] = ()) -> np.ndarray:
    photo = np.full((64, 64, 3), (10, 200, 10), np.uint8)
    further = encode_jpeg(np.full((32, 32, 3), (128, 128, 255), np.uint8))
    maps = {"skin": encode_jpeg(np.full((32, 32, 3), tint, np.uint8)), "skin.normal": further}
    with Image.open(io.BytesIO(render_preview(photo, HEAD, maps, facts))) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(int)


def test_preview_starts_with_the_photo_and_shows_renders_and_maps() -> None:
    pixels = preview()
    height, width = pixels.shape[:2]
    assert 1.5 < width / height < 2.2
    photo = pixels[height // 4, width // 8]
    assert photo[1] > 150
    assert photo[0] < 60
    blue = (pixels[..., 2] > 240) & (np.abs(pixels[..., 0] - 128) < 8)
    assert blue[height // 2 :].sum() > 300, "the normal map"
    render_tiles = pixels[: height // 2, width // 3 :]
    assert (render_tiles.max(axis=2) > 120).sum() > 500


def test_preview_never_clips_and_prints_the_facts() -> None:
    bright = preview(tint=250)
    renders = bright[: bright.shape[0] // 2, bright.shape[1] // 3 + 4 :]
    assert (renders.min(axis=2) >= 255).mean() < 0.001
    without, named = preview(), preview(facts=(("quality", "good"), ("shapes", "52 ARKit")))
    changed = np.argwhere(np.abs(named - without).max(axis=2) > 40)
    assert len(changed) > 20
    assert changed[:, 1].min() > 0.75 * named.shape[1]
    assert changed[:, 0].min() > 0.5 * named.shape[0]


@pytest.mark.parametrize(("texture_format", "suffix"), [("png", "png"), ("webp", "webp"), ("jpeg", "jpg")])
@pytest.mark.parametrize("size", [64, 640])
def test_maps_are_encoded_as_asked(texture_format: str, suffix: str, size: int) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, size).astype(np.uint8)[:, None, None], (size, size, 3)).copy()
    eyes = np.full((32, 32, 3), 99, np.uint8)
    result = StageResult(tensors={"albedo/skin": ramp, "albedo/eyes": eyes, "other": np.zeros(3)})
    encoded = encode_maps(result, JobOptions(texture_format=texture_format))
    assert set(select_asset_maps(encoded)) == {f"albedo.{suffix}", f"albedo_eyes.{suffix}"}
    assert set(select_embedded_maps(encoded)) == {"skin", "eyes"}
    with Image.open(io.BytesIO(encoded[f"albedo.{suffix}"])) as image:
        decoded = np.asarray(image.convert("RGB")).astype(int)
    tolerance = 0 if texture_format == "png" else 8
    assert np.abs(decoded - ramp).max() <= tolerance
    assert np.abs(decode_jpeg(encoded["glb/skin.jpg"]).astype(int) - ramp).max() <= 8


@pytest.mark.parametrize(("texture_format", "suffix"), [("png", "png"), ("webp", "webp"), ("jpeg", "png")])
def test_maps_with_coverage_keep_it(texture_format: str, suffix: str) -> None:
    image = np.zeros((32, 32, 4), np.uint8)
    image[:, 16:, 3] = 200
    encoded = encode_maps(
        StageResult(tensors={"albedo/lashes": image}), JobOptions(texture_format=texture_format)
    )
    for data in (encoded[f"albedo_lashes.{suffix}"], select_embedded_maps(encoded)["lashes"]):
        decoded = np.asarray(Image.open(io.BytesIO(data)))
        assert np.abs(decoded[..., 3].astype(int) - image[..., 3]).max() <= 4
    assert np.array_equal(decode_embedded_map(encoded["glb/lashes.png"]), image)


def test_transparent_parts_show_what_lies_behind_and_mirror_the_lights() -> None:
    """A half covering sheet before the left eye mixes with it; a clear one leaves it and adds a light."""
    eye = HEAD.part("eye_left")
    larger = 1.15 * (eye.positions - eye.positions.mean(0)) + eye.positions.mean(0)
    colours = {"skin": (90, 90, 90), "eyes": (0, 0, 200), "lashes": (200, 0, 0, 128)}
    textures = {name: load_texture(np.full((4, 4, len(c)), c, np.uint8)) for name, c in colours.items()}

    def picture(*materials: str) -> np.ndarray:
        sheets = [replace(eye, name="sheet", material=name, positions=larger) for name in materials]
        posed = pose_head(replace(HEAD, parts=(*HEAD.parts, *sheets)), aim_camera((96, 96)))
        return render_all(posed, textures).astype(int)

    plain, covered, clear = picture(), picture("lashes"), picture("cornea")
    blue = (plain[..., 2] > 2 * plain[..., 0]) & (np.arange(96) > 48)
    assert blue.sum() > 20
    assert (covered[blue][:, 0] > plain[blue][:, 0] + 30).mean() > 0.9
    assert (covered[blue][:, 2] > 40).mean() > 0.9, "the eye is still seen"
    assert np.median(np.abs(clear[blue] - plain[blue])) < 20
    assert clear[blue].max(axis=0)[0] > plain[blue].max(axis=0)[0], "a highlight"


@pytest.mark.parametrize("shape", [(1501, 1203), (4096, 512)])
def test_a_jpeg_in_bands_decodes_to_the_pixels_of_one_in_one_piece(shape: tuple[int, int]) -> None:
    coarse = np.random.default_rng(3).integers(
        0, 255, (shape[0] // 8 + 1, shape[1] // 8 + 1, 3), dtype=np.uint8
    )
    image = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[: shape[0], : shape[1]]
    # Gradients across blocks, so that a band's first block differs from what lies above it.
    image = (image // 2 + np.arange(shape[1])[None, :, None] % 100).astype(np.uint8)
    whole, banded = encode_jpeg(image, bands=1), encode_jpeg(image, bands=7)
    assert np.array_equal(decode_jpeg(banded), decode_jpeg(whole))
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(banded))), np.asarray(Image.open(io.BytesIO(whole)))
    )


def test_jpeg_keeps_chroma_and_decodes_small() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = (200, 60, 60)
    stripes[:, 1::2] = (60, 60, 200)
    data = encode_jpeg(stripes)
    assert np.abs(decode_jpeg(data).astype(int) - stripes).max() < 40, "chroma was subsampled"
    assert decode_jpeg(data, min_side=16).shape == (16, 16, 3)


def surface_maps(size: int) -> dict[str, np.ndarray]:
    ramp = np.broadcast_to(np.linspace(0, 255, size), (size, size)).astype(np.uint8)
    deep = np.broadcast_to(np.linspace(0, 65535, size), (size, size)).astype(np.uint16)
    return {
        "albedo/skin": np.dstack([ramp, ramp, ramp]),
        "normal/skin": np.dstack([ramp, ramp[::-1], np.full_like(ramp, 255)]),
        "roughness/skin": ramp,
        "occlusion/skin": 255 - ramp,
        "displacement/skin": deep,
    }


@pytest.mark.parametrize(("texture_format", "suffix"), [("png", "png"), ("webp", "webp"), ("jpeg", "jpg")])
def test_the_skins_further_maps_become_files(texture_format: str, suffix: str) -> None:
    maps = surface_maps(64)
    encoded = encode_maps(StageResult(tensors=maps), JobOptions(texture_format=texture_format))
    names = {f"{name}.{suffix}" for name in ("albedo", "normal", "roughness", "ao")} | {"displacement.png"}
    assert set(select_asset_maps(encoded)) == names
    with Image.open(io.BytesIO(encoded["displacement.png"])) as image:
        assert np.array_equal(np.asarray(image).astype(np.uint16), maps["displacement/skin"])
    tolerance = 0 if texture_format == "png" else 12
    for name, kind in (("normal", "normal"), ("roughness", "roughness"), ("ao", "occlusion")):
        decoded = np.asarray(Image.open(io.BytesIO(encoded[f"{name}.{suffix}"]))).astype(int)
        expected = maps[f"{kind}/skin"].astype(int)
        if decoded.ndim > expected.ndim:
            expected = np.dstack([expected] * 3)
        assert np.abs(decoded - expected).max() <= tolerance


def test_head_glb_gets_normals_and_packed_occlusion_roughness_metalness() -> None:
    encoded = encode_maps(StageResult(tensors=surface_maps(64)), JobOptions())
    embedded = select_embedded_maps(encoded)
    assert set(embedded) == {"skin", "skin.normal", "skin.orm"}
    packed = decode_jpeg(embedded["skin.orm"]).astype(int)
    assert packed.shape == (32, 32, 3)
    assert packed[:, -3:, 0].max() < 30
    assert packed[:, -3:, 1].min() > 225
    assert packed[..., 2].max() < 12


def test_head_glbs_further_maps_are_means_of_the_texels_they_stand_for() -> None:
    """Not every second texel: pores and folds are as fine as that."""
    stripes = np.tile(np.array([40, 200], np.uint8), (64, 32))
    maps = surface_maps(64) | {
        "normal/skin": np.dstack([stripes] * 3),
        "roughness/skin": stripes,
        "occlusion/skin": stripes.T.copy(),
    }
    embedded = select_embedded_maps(encode_maps(StageResult(tensors=maps), JobOptions()))
    for name in ("skin.normal", "skin.orm"):
        small = decode_jpeg(embedded[name])[..., :2].astype(int)
        assert np.abs(small - 120).max() <= 4, name
