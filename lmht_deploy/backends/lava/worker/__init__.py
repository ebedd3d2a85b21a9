"""What runs in Lava's own Python: NumPy < 2 and lava-nc, and nothing of lmht-deploy.

main.py        the child process: a folder in, result files out, complete cleanup
network.py     job of an LM-HT network -> Lava processes
stock.py       NetX files in unmodified lava-dl
pooling.py     pooling between neurons and a synapse
processes/     the Lava processes; Lava executes every .py file beside a process
shims.py       lava-nc on Python 3.11 and 3.12, lava-dl without PyTorch
"""
