"""The model card's figures: groups of heads are what their names say, and the command prints them."""

import csv
from dataclasses import replace

import pytest
import torch

from gpu_workers.head.landmarks.dense_network import FaceNetwork, NetworkPlan, save_face_network
from gpu_workers.training import measure_network
from gpu_workers.training.measure_network import bands, skin_brightness
from gpu_workers.training.synthetic_photos.random_appearance import sample_looks
from tests.unit.head.head_support import model_dir

pytestmark = pytest.mark.heavy


def test_groups_are_what_their_names_say():
    groups = bands(
        {
            "brightness": torch.arange(9.0),
            "yaw": torch.tensor([0.0, -20.0, 20.0, 3, 3, 3, 3, 3, 11.9]),
            "glasses": torch.tensor([1.0, *[0.0] * 8]),
            "beard": torch.tensor([0.0, 0.9, *[0.0] * 7]),
        }
    )
    assert groups["all"].sum() == 9
    assert groups["darkest third of skins"].nonzero().flatten().tolist() == [0, 1, 2]
    assert groups["lightest third"].nonzero().flatten().tolist() == [6, 7, 8]
    assert groups["yaw from 12 degrees"].nonzero().flatten().tolist() == [1, 2]
    assert groups["glasses"].nonzero().item() == 0
    assert groups["beard"].nonzero().item() == 1


def test_brightness_follows_texture_paint_and_gain():
    skin = sample_looks(3, torch.Generator().manual_seed(0), textures=2).skin
    textures = torch.zeros(2, 320, 320, 3, dtype=torch.uint8)
    textures[1] = 200
    skin = replace(
        skin,
        textures=torch.tensor([[0, 0], [1, 1], [1, 1]]),
        procedural=torch.zeros(3),
        gain=torch.tensor([[1.0] * 3, [1.0] * 3, [0.5] * 3]),
    )
    dark, light, dimmed = skin_brightness(skin, textures).tolist()
    assert dark < 1e-6
    assert abs(light - (200 / 255) ** 2.2) < 1e-4
    assert abs(dimmed - 0.5 * light) < 1e-4
    painted = replace(skin, procedural=torch.ones(3), tone=torch.full((3, 3), 0.3))
    assert torch.allclose(skin_brightness(painted, textures), torch.full((3,), 0.3), atol=1e-4)


def test_the_command_prints_a_row_a_group(tmp_path, capsys):
    torch.manual_seed(0)
    plan = NetworkPlan(input_size=48, widths=(4, 4, 4, 4), depths=(1, 1, 1, 1), reduced=4, hidden=8, rank=2)
    save_face_network(FaceNetwork(plan), tmp_path / "net", {})
    common = ["--model-dir", str(model_dir()), "--network", str(tmp_path / "net")]
    assert measure_network.main([*common, "--heads", "8", "--map-heads", "64"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert rows[0]["heads"] == "all"
    assert rows[0]["n"] == "8"
    assert float(rows[0]["landmarks_iod"]) > 1
