"""Photo files to upright 8-bit sRGB pixels: what the decoder's child does, without processes and limits.

Pillow, pi-heif and NumPy only: neither torch nor the project's settings are imported here.
"""
