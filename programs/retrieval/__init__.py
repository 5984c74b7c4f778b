"""Retrieval: what programs search with, indexes of ours, and bounds on any retriever."""

from reasonflow.programs.retrieval.bm25 import BM25
from reasonflow.programs.retrieval.bounded import Bounded, Found
from reasonflow.programs.retrieval.dense import Dense
from reasonflow.programs.retrieval.passages import Passage
from reasonflow.programs.retrieval.protocol import Retriever, as_retriever
from reasonflow.programs.retrieval.sources import Columns

__all__ = ["BM25", "Bounded", "Columns", "Dense", "Found", "Passage", "Retriever", "as_retriever"]
