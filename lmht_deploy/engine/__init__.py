"""The event-driven engine: a C++ core and its thin Python face."""
