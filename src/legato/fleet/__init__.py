"""The fleet: models on many machines, seen as one engine. Agents dial in, are pushed jobs, and stream back what they write."""
