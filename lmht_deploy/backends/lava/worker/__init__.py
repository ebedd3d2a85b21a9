"""What runs inside Lava's own Python: NumPy < 2, h5py and lava-nc, and nothing of lmht-deploy.

main.py        the child process: a folder in, result files out, nothing left behind
network.py     NetX file -> Lava processes
processes/     the Lava processes; a folder of its own, as Lava executes every .py beside a process
shims.py       lava-nc on Python 3.11 and 3.12, lava-dl without PyTorch
"""
