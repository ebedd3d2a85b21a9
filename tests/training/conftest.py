"""Triton's kernels run in its interpreter where there is no GPU. It must be told before Triton is first imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
