#!/usr/bin/env bash
# Pillow writes EXIF into a TIFF without its Interoperability folder: the pointer stays, with the offset that it had in
# the EXIF block, and what it pointed at is gone. Adobe RGB is said there (index R03), so the colours' meaning is lost.
# The same EXIF block comes back whole from a JPEG, a PNG and a WebP.
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
exif = Image.Exif()
exif.get_ifd(0x8769)[0xA001] = 65535
exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
seen = {}
for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind, exif=exif.tobytes())
    read = Image.open(io.BytesIO(file.getvalue())).getexif()
    seen[kind] = (0xA005 in read.get_ifd(0x8769), read.get_ifd(0xA005).get(1))
print("expected: (True, 'R03') four times: pointer and index")
print("seen:    ", seen)
raise SystemExit(seen != {**dict.fromkeys(("JPEG", "PNG", "WEBP"), (True, "R03")), "TIFF": (True, None)})
PYTHON
