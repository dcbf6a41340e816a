"""Why a file cannot be read."""


class UnreadableError(Exception):
    """The file is no image, or of no format that is read."""


class CutShortError(Exception):
    """The file ends before its picture does, or is damaged."""
