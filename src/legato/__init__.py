"""Legato: a self-hosted streaming chat server whose tokens reach every viewer unbroken."""

__version__ = "0.1.0"
