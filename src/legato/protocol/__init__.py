"""The native protocol, `legato.v1`: its messages and its close codes. `docs/protocol.md` teaches it on a page."""
