import numpy as np
from torch import nn

from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import Input
from lmht_deploy.quantize import quantize
from lmht_deploy.training.lowering import lower
from lmht_deploy.training.model import SpikingModel
from lmht_deploy.training.neurons import LMHT

body = nn.Sequential(  # any PyTorch modules; only the neurons see time
    nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), LMHT(levels=2, steps=4), nn.AvgPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), LMHT(levels=2, steps=4),
    nn.Flatten(), nn.Linear(16 * 8 * 8, 10),
)  # fmt: skip
model = SpikingModel(body, steps_in=4)  # windows [B, 4, 2, 16, 16] -> logits [B, 10]
net = lower(model, Input(name="input", shape=(2, 16, 16), steps=4))  # plain data, float
save_network(quantize(net), "net.lmht")  # int8 weights, 32-bit accumulators proved
windows = np.random.default_rng(0).poisson(0.1, (100, 4, 2, 16, 16)).astype(np.uint8)
save_windows(windows, "windows.npz")
