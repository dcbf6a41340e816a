"""What each pixel of a photo shows: skin, hair, eyes, mouth, glasses."""
