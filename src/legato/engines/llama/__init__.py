"""The embedded engine: llama.cpp in a child process. Other packages use `engine.LlamaEngine` and `model_files.find_model`."""
