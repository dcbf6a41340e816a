"""A fitted photo's head: ready for a graph, handed out early, and made once."""

import threading

import numpy as np
import pytest
import torch

from face3d.options import JobOptions
from gpu_workers.head.model.posed_head import HostHead
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.head_assembly import HeadAssembly
from gpu_workers.head.rigging.rim_contact import RimContact
from tests.unit.head.head_support import astronaut_geometry, engine, head_data, prepared_astronaut
from tests.unit.head.rigging.shapes_support import EYES, own_head, personal_shapes
from tests.unit.waiting import NoWaiting

pytestmark = pytest.mark.heavy

MM = 0.001


def begin(expression):
    return engine().begin_geometry(prepared_astronaut(), JobOptions(expression=expression))


def test_once_warm_the_assembly_never_waits_for_the_device():
    """So that a CUDA graph can hold it."""
    assembly = HeadAssembly(personal_shapes())
    packed = begin("neutral").fitted.pack(expression_in_base=False)
    assembly.assemble(packed)
    with NoWaiting():
        assembly.assemble(packed)


def test_the_assembly_has_all_it_needs_on_its_device():
    """The device `meta` knows shapes only: nothing can be sent to it, and nothing be decided by a value."""
    meta = torch.device("meta")
    assembly = HeadAssembly(PersonalShapes(head_data(), meta))
    packed = torch.empty(1, assembly.layout.total, dtype=torch.float64, device=meta)
    found = assembly.assemble(packed)
    assert {tensor.device for tensor in vars(found).values()} == {meta}
    assert found.positions.shape == head_data().positions.shape


@pytest.mark.parametrize("expression", ["neutral", "photo"])
def test_the_bake_gets_the_same_before_the_head_is_on_the_host_as_after(expression):
    begun = begin(expression)
    host = HostHead(begun.head)
    assert (begun.posed - host.posed).abs().max() < 1e-4 * MM
    assert (begun.camera, begun.smile) == (host.camera, host.smile)
    # The astronaut smiles; a base that keeps the smile lacks none.
    assert min(begun.smile) > 0.3 if expression == "neutral" else begun.smile == (0, 0)


def test_the_camera_sees_the_same_head_whatever_its_base_keeps():
    posed = [begin(expression).posed for expression in ("neutral", "photo")]
    assert (posed[0] - posed[1]).abs().max() < 0.01 * MM


def test_a_head_is_made_once_however_many_ask():
    begun, heads = begin("neutral"), []
    threads = [threading.Thread(target=lambda: heads.append(begun.head)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heads) == 4
    assert all(head is begun.head for head in heads)
    found = astronaut_geometry().head
    assert np.abs(begun.head.part("skin").positions - found.part("skin").positions).max() < 1e-5 * MM


def test_both_eyes_at_once_are_resolved_as_each_alone():
    """Two grids in one contact are those of its reference implementation, one grid each."""
    head, openings = own_head(4), personal_shapes().openings
    pose = torch.from_numpy(head.pose(eyeBlinkLeft=1.3, eyeBlinkRight=1.2))
    rest = torch.from_numpy(head.neutral)

    def rise(contact: RimContact) -> torch.Tensor:
        vertices = contact.group.vertices
        return contact.part(pose[vertices][:, None], rest[vertices])

    together = rise(openings.both_eyes.edges).chunk(2)
    for side, found in zip(EYES, together, strict=True):
        assert found.abs().max() > 0.1 * MM
        torch.testing.assert_close(found, rise(openings.eyes[side].edges), atol=1e-7, rtol=0)


def test_poses_in_a_batch_do_not_know_each_other():
    """A pose without overlap beside one that has some stays as it is."""
    head, contact = own_head(2), personal_shapes().openings.lips
    vertices = contact.group.vertices
    rest = torch.from_numpy(head.neutral)[vertices]
    poses = [
        torch.from_numpy(head.pose(**weights))[vertices] for weights in ({"jawOpen": 1}, {"mouthPucker": 2})
    ]
    rises = contact.part(torch.stack(poses, dim=1), rest)
    assert not rises[:, 0].any()
    torch.testing.assert_close(rises[:, 1:], contact.part(poses[1][:, None], rest), atol=1e-7, rtol=0)
    assert rises[:, 1].any()


def test_mouth_and_eyes_have_no_vertex_in_common():
    """So that their contacts can be resolved at the same time."""
    openings = personal_shapes().openings
    grids = [openings.lips.grid, *(eye.edges.grid for eye in openings.eyes.values())]
    vertices = np.concatenate([grid.vertices.ravel() for grid in grids])
    assert len(np.unique(vertices)) == len(vertices)
