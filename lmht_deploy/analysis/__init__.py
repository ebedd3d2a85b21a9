"""Analysis of networks and results: comparison of backends, validation, energy and chip limits.

* `compare`: the same windows on several backends
* `validate`: one network before and after reparameterization (Table 2 of the paper)
* `runner`: one network or artifact on one backend
* `agreement`: the first difference of two runs, McNemar's test of two networks
* `rounding`: what quantization does at each layer
* `document`: the JSON of a comparison
* `counts`: exact counts of spikes, operations and memory accesses
* `counters`: what other tools would have counted
* `meters`: measured energy, where the machine has counters
* `twin`: accuracy of the network of the same shape that is not spiking
* `early`: end a run when its answer is sure
* `explain`: what a network answers without parts of a window
* `scores`: accuracy, confusion matrix, margins
* `energy`: operation counts to joules
* `chips`: published limits of neuromorphic chips
"""

__all__ = [
    "agreement",
    "chips",
    "compare",
    "counters",
    "counts",
    "document",
    "early",
    "energy",
    "explain",
    "meters",
    "rounding",
    "runner",
    "scores",
    "twin",
    "validate",
]
