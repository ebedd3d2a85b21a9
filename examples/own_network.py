import torch
from torch import nn

import lmht_deploy as lmht
from lmht_deploy.training import LMHT, SpikingModel

train, test = (lmht.data.load("digits", split=name, steps=4) for name in ("train", "test"))
body = nn.Sequential(  # any PyTorch layers; only the neurons see time
    nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), LMHT(levels=2, steps=4), nn.AvgPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), LMHT(levels=2, steps=4),
    nn.Flatten(), nn.Linear(16 * 8 * 8, 10),
)  # fmt: skip
model = SpikingModel(body, steps_in=4)  # windows [B, 4, 2, 16, 16] -> logits [B, 10]

windows, labels = torch.from_numpy(train.windows).float(), torch.from_numpy(train.labels)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for _ in range(3):
    for batch in torch.randperm(len(windows)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(windows[batch]), labels[batch]).backward()
        optimizer.step()

net = lmht.quantize(lmht.lower(model, lmht.Input(name="input", shape=(2, 16, 16), steps=4)))
lmht.save(net, "net.lmht")  # int8 weights, 32-bit accumulators proved
lmht.export(net, "net.onnx")
result = lmht.run(net, test.windows)  # the event-driven engine
print(f"accuracy {(result.predictions == test.labels).mean():.1%}")
assert lmht.compare(net, test.windows[:5], backends=["event", "onnx", "torch"]).equal
