"""How many of which card: the planner, its figures and its check."""
