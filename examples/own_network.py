import numpy as np
from torch import nn

import lmht_deploy as lmht
from lmht_deploy.training import LMHT, SpikingModel

body = nn.Sequential(  # any PyTorch layers; only the neurons see time
    nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), LMHT(levels=2, steps=4), nn.AvgPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), LMHT(levels=2, steps=4),
    nn.Flatten(), nn.Linear(16 * 8 * 8, 10),
)  # fmt: skip
model = SpikingModel(body, steps_in=4)  # windows [B, 4, 2, 16, 16] -> logits [B, 10]

net = lmht.lower(model, lmht.Input(name="input", shape=(2, 16, 16), steps=4))  # float
net = lmht.quantize(net)  # int8 weights, 32-bit accumulators proved
lmht.save(net, "net.lmht")
lmht.export(net, "net.onnx")

windows = np.random.default_rng(0).poisson(0.1, (100, 4, 2, 16, 16)).astype(np.uint8)
lmht.save_windows(windows, "windows.npz")
result = lmht.run(net, windows)  # the event-driven engine
assert lmht.compare(net, windows[:5], backends=["event", "onnx", "torch"]).equal
