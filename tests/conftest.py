"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("legato", deadline=None)
settings.load_profile("legato")
