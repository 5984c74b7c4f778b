"""Retrieval: what programs search with, an index of ours, and bounds on any retriever."""

from reasonflow.programs.retrieval.bounded import Bounded, Found
from reasonflow.programs.retrieval.passages import Passage
from reasonflow.programs.retrieval.protocol import Retriever, as_retriever

__all__ = ["Bounded", "Found", "Passage", "Retriever", "as_retriever"]
