"""TLS contexts of connections that this program opens."""

import ssl
from pathlib import Path


def client_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies the server against the system's authorities, and those in `ca_file`.

    :raises OSError: `ca_file` cannot be read, or contains no PEM certificate (`ssl.SSLError`).
    """
    context = ssl.create_default_context()
    # Self-made authorities often lack the key identifiers that Python 3.13 requires by default.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
