"""Chat: conversations, their turns, and the service that everything outside talks to."""
