"""How well heads and textures keep what photos show."""
