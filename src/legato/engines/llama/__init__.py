"""The embedded engine: llama.cpp in a child process. `engine.LlamaEngine` is what others use, and `weights.find_model`."""
