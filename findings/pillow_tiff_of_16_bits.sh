#!/usr/bin/env bash
# Two TIFFs of 16 bits that Pillow opens without a word and reads wrongly: a grey one in which white is zero comes out as
# its negative (one of eight bits does not), and a colour one whose planes lie apart as noise.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import io

import numpy as np
import PIL
import tifffile
from PIL import Image

print("pillow", PIL.__version__)
grey = np.tile(np.arange(64, dtype=np.uint16) * 1040, (64, 1))
planes = np.stack([grey, grey.T, grey[::-1, ::-1]])


def read(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return np.asarray(Image.open(file)).astype(int)


seen = {
    "8 bits, white is zero": read((255 - grey // 257).astype(np.uint8), photometric="miniswhite") - grey // 257,
    "16 bits, white is zero": (read(65535 - grey, photometric="miniswhite") - grey) // 257,
    "16 bits, planes apart": read(planes, photometric="rgb", planarconfig="separate")
    - planes.transpose(1, 2, 0) // 257,
}
errors = {name: round(float(np.abs(error).mean())) for name, error in seen.items()}
print("mean error of 255, expected: 0, 0, 0")
print("seen:    ", errors)
raise SystemExit([error > 10 for error in errors.values()] != [False, True, True])
PYTHON
