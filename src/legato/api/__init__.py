"""The APIs of other servers: a request of a client that exists, answered by any engine, and its response kept so that it can be resumed."""
