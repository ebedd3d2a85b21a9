"""Networks of other frameworks, imported and compared: `python -m benchmarks.frameworks`.

Every model is built of a framework's own layers, trained for a few epochs by that framework, and
exported by the framework's own NIR export. Then:

    spikes     every layer of the float network reads the spikes of the framework, and its own
               spikes are compared with those of the framework, which computes in float32
    accuracy   of the framework, and of the integer network in the event engine
    speed      the framework on one core, by the event engine on one core

models.py       what all frameworks share: data, shapes, training, recording of spikes
routes.py       the models of each framework
agreement.py    the comparison, with a bound on the rounding of float32
"""
