"""Taking spiking networks trained with the LM-HT model to neuromorphic targets and CPUs, with the very same spikes."""

__version__ = "0.1.0"
