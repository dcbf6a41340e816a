"""What of each of the fit's weights makes the head's own shapes go as far as the basis's do.

The fit keeps to MakeHuman's actions; looks and the jaw of a head go further at 1.0.
"""

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS
from gpu_workers.head.rigging.gaze import EYES, LOOK_ASIDE, LOOK_UP_DOWN, look_shapes, split_look

#: Travel of the basis's iris in a look at 1.0, metres as seen from the front: MakeHuman's actions, which the
#: fit keeps to. Less than what the head's own look does.
_BASIS_TRAVEL = {"Up": 0.0028, "Down": 0.0043, "In": 0.0056, "Out": 0.0055}
#: Degrees by which jawOpen turns the lower teeth at 1.0: on heads 38 mm between the incisors' edges (adults
#: open by 50 mm at most, on average: Mezitis, Rallis and Zachariades, The normal range of mouth opening,
#: 1989), and in the basis.
JAW_OPEN_DEGREES, _BASIS_JAW_DEGREES = 28.5, 22.25


def expression_shares() -> NDArray[np.float32]:
    """Return (52,): factors of the fit's weights."""
    shares = np.ones(len(ARKIT_NAMES), np.float32)
    shares[ARKIT_NAMES.index("jawOpen")] = _BASIS_JAW_DEGREES / JAW_OPEN_DEGREES
    for side in EYES:
        for k in look_shapes(side):
            way, _ = split_look(ARKIT_NAMES[k])
            turn = np.radians(LOOK_UP_DOWN if way in ("Up", "Down") else LOOK_ASIDE)
            shares[k] = _BASIS_TRAVEL[way] / (EYEBALL_RADIUS * np.sin(turn))
    return shares
