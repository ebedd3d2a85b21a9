"""Runs in Lava's environment: spikes of NetX files in stock lava-dl 0.6.

    python -I lava_spikes.py FOLDER-OF-WORKER JOBS.json

JOBS: a list of {"net", "inputs" (.npy [steps, *shape] in CHW), "graded", "reset_interval", "out"}; writes
<out>-<i>.npy [steps, *shape] for layer i, in CHW. Ends its process group, as Lava may not end by itself.
"""

import json
import os
import signal
import sys

sys.path.append(sys.argv[1])
from worker import shims

shims.newer_python()
shims.without_torch()

import numpy as np  # noqa: E402
from lava.lib.dl.netx import hdf5  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.proc import io  # noqa: E402


def whc(array):
    """(steps, *CHW) <-> (*WHC, steps)"""
    return array.T


def spikes(job):
    net = hdf5.Network(job["net"], input_message_bits=16 if job["graded"] else 0, reset_interval=job["reset_interval"])
    inputs = np.load(job["inputs"])
    source = io.source.RingBuffer(data=whc(inputs).astype(int))
    source.s_out.connect(net.inp)
    sinks = []
    for layer in net.layers:
        sink = io.sink.RingBuffer(shape=layer.out.shape, buffer=len(inputs))
        layer.out.connect(sink.a_in)
        sinks.append(sink)
    net.run(condition=RunSteps(len(inputs)), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    found = [whc(sink.data.get()) for sink in sinks]
    net.stop()
    for index, layer in enumerate(found):
        np.save(f"{job['out']}-{index}.npy", layer.astype(bool))


try:
    with open(sys.argv[2]) as file:
        for job in json.load(file):
            spikes(job)
except BaseException:
    import traceback

    traceback.print_exc()
sys.stdout.flush()
os.killpg(0, signal.SIGTERM)
