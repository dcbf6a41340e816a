"""About sixty small photos, made by the tests, each with the verdict and the reasons that it must get."""
