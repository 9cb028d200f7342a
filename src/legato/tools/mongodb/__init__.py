"""Read-only access to the documents of a MongoDB."""
