"""Dialects: chat wire formats, each a codec on the one core. `base` is what the gateway and a dialect ask of each other."""
