#!/usr/bin/env bash
# Pillow turns an AVIF by the orientation in its XMP packet, though the file has no rotation of its own.
# MIAF (ISO/IEC 23000-22:2024, 7.3.10.1): metadata states no transformation; only `irot` and `imir` count, as browsers do.
# Pillow itself ignores EXIF's orientation in AVIF for that reason, and then falls back to XMP's.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check pillow==13.0.0
"$folder/env/bin/python" - <<'PYTHON'
import io

import PIL
from PIL import Image, ImageOps

print("pillow", PIL.__version__)
picture = Image.new("RGB", (40, 20), "red")
xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
sizes = {}
exif = Image.Exif()
exif[0x0128] = 6  # becomes Orientation below: Pillow takes that out of what it saves
for name, options in {"XMP says 6": {"xmp": xmp}, "EXIF says 6": {"exif": exif.tobytes()}}.items():
    file = io.BytesIO()
    picture.save(file, "AVIF", **options)
    data = file.getvalue().replace(b"\x01\x28\x00\x03", b"\x01\x12\x00\x03")
    assert b"irot" not in data and b"imir" not in data
    sizes[name] = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
print("expected: (40, 20) both times")
print("seen:    ", sizes)
raise SystemExit(sizes != {"XMP says 6": (20, 40), "EXIF says 6": (40, 20)})
PYTHON
