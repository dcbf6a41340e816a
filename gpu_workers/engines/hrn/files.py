"""The model directory of engine `hrn`: which files there are and what lies in each."""

from dataclasses import dataclass, field
from pathlib import Path

from face3d.settings import Settings

#: What ModelScope's hub calls the model, and the revision whose files this engine knows.
MODEL_ID = "damo/cv_resnet50_face-reconstruction"
MODEL_REVISION = "v2.0.0-HRN"

#: Vertices and triangles of the face's front in the Basel Face Model.
FRONT_VERTICES = 35709
FRONT_FACES = 70789

#: The face mask: the pipeline's frozen TensorFlow graph, and what `face3d models convert hrn` makes of it.
MASK_GRAPH = "segment_face.pb"
MASK_NETWORK = "segment_face.onnx"

CHECKPOINT = "pytorch_model.pt"
RETOUCHING = "de_retouching_model.pth"
LANDMARKS = "large_base_net.pth"
FACE_DETECTOR = "retinaface_resnet50_2020-07-20_old_torch.pth"
SQUARE_DETECTOR = "face_alignment/s3fd-619a316812.pth"
HEATMAPS = "face_alignment/3DFAN4-4a694010b9.zip"
DEPTHS = "face_alignment/depth-6c4283c0e0.zip"
#: TorchScript, which is run as it is: no check makes a hostile one safe.
PROGRAMS = (HEATMAPS, DEPTHS)

#: First digits of the SHA-256 of the files that other projects publish under such names.
KNOWN_DIGESTS = {
    SQUARE_DETECTOR: "619a316812",
    HEATMAPS: "4a694010b9",
    DEPTHS: "6c4283c0e0",
}

_FRONT = 3 * FRONT_VERTICES
_TEXELS = 512 * 512 * 3


@dataclass(frozen=True)
class DataFile:
    """A file of arrays: `.mat` with named ones, `.npy` with one of no name."""

    name: str
    #: Name to shape.
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


DATA_FILES = (
    DataFile(
        "assets/BFM_model_front.mat",
        {
            "meanshape": (1, _FRONT),
            "idBase": (_FRONT, 80),
            "exBase": (_FRONT, 64),
            "meantex": (1, _FRONT),
            "texBase": (_FRONT, 80),
            "tri": (FRONT_FACES, 3),
            "point_buf": (FRONT_VERTICES, 8),
            "keypoints": (1, 68),
        },
    ),
    DataFile("assets/similarity_Lm3D_all.mat", {"lm": (68, 3)}),
    DataFile(
        "assets/BBRegressorParam_r.mat", {"W1": (200, 10), "B1": (200, 1), "W2": (3, 200), "B2": (3, 1)}
    ),
    DataFile("assets/bfm_uvs2.npy", {"": (FRONT_VERTICES, 2)}),
)

#: Rows that may as well be columns.
RESHAPED = ("meanshape", "keypoints")

#: Arrays that are reshaped when they are read: only how many numbers they hold counts.
SIZED_FILES = {"assets/bfm_tex_mean2.npy": _TEXELS, "assets/bfm_texmap_base2.npy": _TEXELS * 80}

#: Files whose being there is all that is examined.
PLAIN_FILES = ("configuration.json", "assets/template_bfm.obj", *PROGRAMS)


def find_model_folder(settings: Settings) -> Path:
    """Return where the settings say that the model directory lies."""
    return settings.hrn_model_dir or settings.model_dir / "hrn"
