"""From PyTorch to a `Network`: LM-HT neurons, data, loops and lowering."""
