"""Fine-tuning on trajectories in threads, each as one trie of tokens (ThreadWeaver, arXiv 2512.07843)."""

from reasonflow.optimizers.trie_sft.run import TrieSFT
from reasonflow.optimizers.trie_sft.settings import Settings
from reasonflow.optimizers.trie_sft.trie import Flat, flatten
from reasonflow.optimizers.trie_sft.units import Unit, units_of

__all__ = ["Flat", "Settings", "TrieSFT", "Unit", "flatten", "units_of"]
