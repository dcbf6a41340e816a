"""Training of engine `anny`'s face network on rendered heads. Never imported at run time."""
