"""Training on a GPU that is at hand for minutes: `python -m benchmarks.training --help`.

timing       how much is measured, and how long a run takes
network      the network whose training step is timed
kernels      the fused kernels of the neurons
step         a whole training step, and epochs of a recipe
profile      the kernels of a step, by kind
data         the data of the experiments, emulated recordings included
experiments  trainings: which ones, and for how many epochs
integers     integer networks of trained runs, in processes beside the training
workers      processes that work beside the training
    session      the budget, and the folder of results
report       results as text
"""
