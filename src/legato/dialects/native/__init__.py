"""The native dialect, `legato.v1`: one socket follows many conversations, each stream by its position."""
