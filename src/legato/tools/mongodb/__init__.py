"""Documents of a MongoDB, to be read and never to be written."""
