"""From a fitted head to one with eyes, lids, teeth and shapes that do not collide."""
