"""What a model may ask for while it writes a reply: documents, MCP servers, Python functions."""
