"""What a request passes before its route: hosts, tokens, sizes, pace, lanes."""
