"""The process beside the models: it dials out to a server, takes jobs, and runs them on an engine."""
