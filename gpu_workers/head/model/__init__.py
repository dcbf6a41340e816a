"""The parametric head at run time: its template and the landmarks on it."""
