"""The HTTP routes, one noun a file."""

from legato.gateway.routes import ids as ids
