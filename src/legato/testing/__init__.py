"""The test kit: a scripted engine, a sink that stalls, and models that write a fixed text. It is shipped for developers who extend Legato."""
