"""What the benchmarks measure with: arrivals, places, photos, tables."""

import csv
import os
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.gpu.fleet import Place
from bench.gpu.scale import plan_places
from bench.photos import NoPhotos, load_files, load_sources, make_photos
from bench.pipeline.soak import plan_arrivals, resident_mb
from bench.report import describe_run, round_rows, write_csv


def test_steady_arrivals_keep_their_distance() -> None:
    assert plan_arrivals(2.0, 3.0, "steady") == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_poisson_arrivals_have_the_rate_and_are_repeatable() -> None:
    due = plan_arrivals(4.0, 1000.0, "poisson")
    assert due[0] == 0.0
    gaps = np.diff(due)
    assert statistics.mean(gaps) == pytest.approx(0.25, rel=0.05)
    # An exponential distribution's deviation is its mean; equal distances have none.
    assert statistics.pstdev(gaps) == pytest.approx(0.25, rel=0.1)
    assert due == plan_arrivals(4.0, 1000.0, "poisson")


def test_a_process_named_twice_is_counted_once() -> None:
    me = os.getpid()
    once = resident_mb([me])
    assert once > 10
    assert resident_mb([me, me]) == pytest.approx(once, rel=0.2)


def test_replicas_have_a_card_each_and_shards_share_a_pair() -> None:
    assert plan_places(2, 1, sharded=False) == [Place("cuda:0", "cuda:0"), Place("cuda:1", "cuda:1")]
    pairs = plan_places(4, 1, sharded=True)
    assert pairs == 2 * [Place("cuda:0", "cuda:1")] + 2 * [Place("cuda:2", "cuda:3")]
    assert len(plan_places(4, 3, sharded=False)) == 12


def test_a_card_keeps_to_its_share_of_the_cores_however_many_cards_work() -> None:
    cores = list(range(8))
    assert plan_places(1, 1, sharded=False, share=2, cores=cores)[0].cores == (0, 1)
    assert [place.cores for place in plan_places(3, 1, sharded=False, share=2, cores=cores)] == [
        (0, 1),
        (2, 3),
        (4, 5),
    ]
    assert plan_places(4, 1, sharded=True, share=2, cores=cores)[-1].cores == (4, 5, 6, 7)


def test_no_two_photos_have_the_same_bytes() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    photos = make_photos([Image.fromarray(noise)], 12, side=96)
    assert len(set(photos)) == 12
    assert photos == make_photos([Image.fromarray(noise)], 12, side=96)


def test_a_folder_without_photos_is_said(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("no photo")
    for load in (load_files, load_sources):
        with pytest.raises(NoPhotos, match="holds no photo"):
            load(tmp_path, tmp_path)


def test_rows_show_the_median_of_medians_and_the_step_between_requests() -> None:
    rounds = [{"png": [0.010, 0.012, 0.011]}, {"png": [0.020, 0.020, 0.020]}, {"png": [0.012, 0.012, 0.015]}]
    (row,) = round_rows(["png"], rounds)
    assert row[:2] == ["png", "12.0"]
    # Steps of 2, 1, 0, 0, 0 and 3 ms.
    assert row[4:] == ["1.0", "9"]


def test_the_raw_file_says_how_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    write_csv(path, "device: cpu; n = 2", [{"ms": "1.0"}, {"ms": "2.0", "round": 1}])
    first, *rest = path.read_text().splitlines()
    assert first == "# device: cpu; n = 2"
    assert list(csv.DictReader(rest)) == [{"ms": "1.0", "round": ""}, {"ms": "2.0", "round": "1"}]


def test_a_broker_s_password_is_no_part_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "amqp://guest:secret@127.0.0.1:5672//"
    monkeypatch.setattr("sys.argv", ["face3d", "bench", "pipeline", "--broker", url])
    described = describe_run(n=1, device="cpu")
    assert "secret" not in described
    assert "--broker amqp://***@127.0.0.1:5672//" in described
