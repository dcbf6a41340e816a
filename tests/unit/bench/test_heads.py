"""Heads of many photos: files for a scoring script, and the landmarks found again on the render."""

import pytest

from bench.quality.heads import bench_heads, find_photos
from face3d.options import JobOptions
from tests.unit.head.head_support import astronaut, model_dir, png

pytestmark = pytest.mark.heavy


def test_each_folder_gives_a_head_that_stands_where_its_photo_shows_it(tmp_path):
    (tmp_path / "photos" / "one").mkdir(parents=True)
    (tmp_path / "photos" / "one" / "front.png").write_bytes(png(astronaut()))
    (tmp_path / "photos" / "one" / "side.png").write_bytes(png(astronaut()[:, ::-1]))
    said: list[str] = []
    photos = find_photos(tmp_path / "photos", "front.png", "side.png")
    assert [photo.name for photo in photos] == ["one"]
    bench_heads(
        model_dir=model_dir(),
        device="cpu",
        photos=photos,
        options=JobOptions(expression="photo", lod=1, texture_size=1024),
        out=tmp_path / "out",
        redetect=True,
        say=said.append,
    )
    assert "v " in (tmp_path / "out" / "one" / "head.obj").read_text()
    worst = float(said[-1].split("worst ")[1].split(" %")[0])
    assert 0.1 < worst < 2.5


def test_without_a_name_every_picture_of_the_folder_counts(tmp_path):
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    assert [photo.name for photo in find_photos(tmp_path, None)] == ["a", "b"]
