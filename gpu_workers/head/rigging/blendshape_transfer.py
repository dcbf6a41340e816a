"""The 52 shapes of one head and its correctives: the template's transferred to it, contact resolved.

1. Skin: each vertex goes where the space around the face (deformation_lattice.py) takes the place to which
   the template's shape moves it, so that movements grow with the features they move. A corrective moves it on
   from where its two shapes take it.
2. Jaw: what opens with the jaw turns with it, by the template's angle about this head's joint; teeth and
   tongue rigidly. The tongue put out passes this head's lower lip, on a jaw that is a little open.
3. Gaze: an eyeball turns rigidly about its own centre, and the lids go along.
4. Contact: lids close on this eye and stay outside of it, lips meet and do not pass through each other.

`mouthClose` is ARKit's corrective: it closes the lips of an open jaw, and its contact is resolved on one.
"""

import numpy as np
import torch
from torch import Tensor

from face3d.head import ARKIT_NAMES, CORRECTIVE_NAMES, CORRECTIVE_PAIRS
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.linalg import send
from gpu_workers.head.rigging.attachments import BoundParts
from gpu_workers.head.rigging.contact_resolution import ContactResolution
from gpu_workers.head.rigging.deformation_lattice import Lattice
from gpu_workers.head.rigging.eye_sockets import EyeSockets
from gpu_workers.head.rigging.gaze import EYES, Gaze
from gpu_workers.head.rigging.jaw_gaze_tongue import Jaw, Tongue
from gpu_workers.head.rigging.openings import find_openings

#: What the skin does in these is not carried: it slides as the jaw does, or turns with it.
_WITH_JAW = ("jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "tongueOut")
#: In these it goes with the eyeballs.
_WITH_EYES = "eyeLook"
#: Metres; a vertex that a shape moves less rests.
_RESTING = 1e-6


class PersonalShapes:
    """Makes the shapes of heads of one topology; constant, built once from the head data (a second).

    Nothing that makes a head waits for the device or depends on what is found, so that a CUDA graph can hold
    it.

    Args:
        device: of all tensors.
    """

    def __init__(self, data: HeadData, device: torch.device) -> None:
        self.data = data
        self.device = device
        self._skin = data.parts[0].vertices
        template = data.positions.astype(np.float64)
        self.openings = find_openings(data.parts[0], template[self._skin], device)
        # The basis knows MakeHuman's eyes; all heads, and what shapes are carried from, have their own.
        grids = [eye.lids.grid for eye in self.openings.eyes.values()]
        eyes = [data.part(name).vertices for name in EYES.values()]
        EyeSockets(grids, eyes, template, torch.device("cpu")).seat(torch.from_numpy(template), 1.0)
        rest = template[self._skin]
        #: What touches: `place_teeth` and `resolve_neutral` before `transfer`, `resolve` after it.
        self.contacts = ContactResolution(data, self.openings, device)
        self.bound_parts = BoundParts(data, template, device)
        self._jaw, self._gaze = Jaw(data, device), Gaze(data, device)
        self._tongue = Tongue(data, self.openings.lips.grid, device)
        self._template, self._shapes = (
            send(template, device),
            send(data.shapes, device),
        )
        skin_shapes = data.shapes[:, self._skin].astype(np.float64)
        carried = np.array(
            [
                name not in _WITH_JAW and not name.startswith(_WITH_EYES)
                for name in ARKIT_NAMES + CORRECTIVE_NAMES
            ]
        )
        shape, vertex = np.nonzero((np.abs(skin_shapes).max(2) > _RESTING) & carried[:, None])
        moving, place = np.unique(vertex, return_inverse=True)
        starts, corrected = rest[moving], shape >= len(ARKIT_NAMES)
        if corrected.any():
            one, other = np.array(CORRECTIVE_PAIRS)[shape[corrected] - len(ARKIT_NAMES)].T
            on = vertex[corrected]
            place[corrected] = len(starts) + np.arange(len(on))
            starts = np.concatenate([starts, rest[on] + skin_shapes[one, on] + skin_shapes[other, on]])
        self._carried_rows = send(shape * len(data.positions) + vertex, device)
        self._start_rows, self._starts = send(place, device), len(starts)
        ends = starts[place] + skin_shapes[shape, vertex]
        self._lattice = Lattice(rest, np.concatenate([starts, ends]), device)

    def transfer(self, neutral: Tensor) -> Tensor:
        """Return the shapes (52 + C, V, 3) float32 of a head (V, 3) float64, metres, before contact."""
        change = neutral - self._template
        deltas = self._shapes.clone()
        spread = self._lattice.displacements(change[self._skin].float())
        carried = spread[self._starts :] - spread[self._start_rows]
        deltas.view(-1, 3).index_add_(0, self._carried_rows, carried)
        self._jaw.open(neutral, change, deltas)
        self._tongue.put_out(neutral, deltas)
        self._gaze.turn(neutral, deltas)
        return deltas
