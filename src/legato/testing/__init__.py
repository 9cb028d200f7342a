"""The test kit: a scripted engine, a sink that stalls, models that say a fixed text. Shipped for those who extend Legato."""
