"""The demo engine."""
