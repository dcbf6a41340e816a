"""What counts as inside a triangle: the same for the plain rasteriser of maps and for its kernel."""

#: Barycentric slack of the inside test, so that no pixel on a shared edge is lost.
INSIDE_SLACK = 1e-5
#: Triangles of less than half this area, square pixels, cover nothing.
SMALLEST_AREA = 1e-12
