"""Engine `null`: right shapes, no maths, for load and fault tests."""
