#!/usr/bin/env bash
# Pillow turns a TIFF upright while it loads the pixels, and no other format. Before that, the EXIF orientation reads as
# stored (but the size as turned), afterwards it is gone. Code that reads the orientation, loads, and turns by what it
# read is right for JPEG, PNG and WebP and turns a TIFF twice: mirrored for 2, upside down for 6 and 8.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check pillow==13.0.0
"$folder/env/bin/python" - <<'PYTHON'
import io

import PIL
from PIL import Image

print("pillow", PIL.__version__)
stored = Image.new("RGB", (40, 20), "black")
stored.paste("red", (0, 0, 10, 10))
exif = Image.Exif()
exif[0x0112] = 6
seen = {}
for kind, options in {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}.items():
    file = io.BytesIO()
    stored.save(file, kind, exif=exif.tobytes(), **options)
    picture = Image.open(io.BytesIO(file.getvalue()))
    before = (picture.size, picture.getexif().get(0x0112))
    picture.load()
    seen[kind] = (*before, picture.size, picture.getexif().get(0x0112))
print("size and orientation when opened, then when loaded")
print("expected: ((40, 20), 6, (40, 20), 6) three times")
print("seen:    ", seen)
same = ((40, 20), 6, (40, 20), 6)
raise SystemExit(seen != {"PNG": same, "WEBP": same, "TIFF": ((20, 40), 6, (20, 40), None)})
PYTHON
