"""One thread a process: small networks are not faster with more, and the test command runs a process a core."""

import os

import torch

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
os.environ.pop("COLUMNS", None)  # which xdist sets for its workers, and tables would be as wide as that
torch.set_num_threads(1)
