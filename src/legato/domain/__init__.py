"""The values of a chat and what makes them valid. Nothing here does I/O."""
