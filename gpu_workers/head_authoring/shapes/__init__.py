"""The 52 shapes and their correctives on the template, and how its vertices follow the skeleton."""
