"""The command line. Modules here import torch only inside commands, so that help and syntax errors are quick."""

from .main import main

__all__ = ["main"]
