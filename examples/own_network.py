import numpy as np
from torch import nn

from lmht_deploy import storage
from lmht_deploy.events.files import save_windows
from lmht_deploy.network import Input
from lmht_deploy.quantize import quantize
from training.lowering import lower
from training.model import SpikingModel
from training.neurons import LMHT

body = nn.Sequential(  # any PyTorch modules; only the neurons see time
    nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), LMHT(levels=2, steps=4), nn.AvgPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), LMHT(levels=2, steps=4), nn.Flatten(), nn.Linear(16 * 8 * 8, 10),
)  # fmt: skip
model = SpikingModel(body, steps_in=4)  # windows [B, 4, 2, 16, 16] -> logits [B, 10]; train it as you train any module
net = lower(model, Input(name="input", shape=(2, 16, 16), steps=4))  # plain data, float
storage.save(quantize(net), "net.lmht")  # int8 weights, 32-bit accumulators proved
save_windows("windows.npz", np.random.default_rng(0).poisson(0.1, (100, 4, 2, 16, 16)).astype(np.uint8))
