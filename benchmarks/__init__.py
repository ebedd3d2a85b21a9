"""Claims about speed, as commands: `python -m benchmarks.NAME`.

Modules:
    engine: The event-driven engine compared with dense runtimes and simulators.
    events: Decoding, validation and windows of events; latency of a stream.
    netx: NetX networks in lava-dl and in the simulation of lmht-deploy.
    emulator: Emulated recordings of CIFAR10-DVS compared with real ones.
    training: Fused neurons and a whole training step on a GPU.

Recorded results are in `results/`.
"""
