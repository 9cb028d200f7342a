"""The engine for servers with the OpenAI API."""
