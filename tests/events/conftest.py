"""Property tests prove integers, not wall time."""

from hypothesis import settings

settings.register_profile("events", deadline=None)
settings.load_profile("events")
