"""Lava processes of LM-HT networks."""
