"""File formats: one module per format, which owns its schema, its writer and its reader."""
