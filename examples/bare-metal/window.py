"""Write one handwritten digit as events, and print what the engine answers."""

import numpy as np

import lmht_deploy as lmht

digits = lmht.data.load("digits", split="test", steps=4)
window = digits.windows[3]
result = lmht.run("zoo:digits", window[None])
spikes, sops = (sum(int(n[0]) for n in counts.values()) for counts in (result.spikes, result.sops))
print(f"engine: class {result.predictions[0]}, {spikes} spikes, {sops} SOPs")
with open("window.h", "w") as file:
    file.write("typedef struct { int step, channel, y, x, count; } event;\n")
    file.write("static const event events[] = {\n")
    for place in np.argwhere(window):
        file.write(f"    {{{', '.join(map(str, place))}, {window[tuple(place)]}}},\n")
    file.write("};\nenum { EVENTS = sizeof events / sizeof *events };\n")
