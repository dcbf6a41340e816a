"""What counts as inside a triangle: the same for the rasteriser and for the depth map's kernel."""

#: Distance to an edge, pixels, that still counts as inside: above the rounding of float32.
INSIDE_SLACK = 1e-4
#: Triangles of less than half this area, square pixels, are lines: they cover nothing.
SMALLEST_AREA = 1e-6
