"""Engines write replies. `base` is the contract; each sibling is one engine, or one thing made of engines."""
