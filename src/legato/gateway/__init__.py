"""The server: settings become parts wired in one place; sockets, routes, and who may pass."""
