"""Network -> file: one module per target format."""
