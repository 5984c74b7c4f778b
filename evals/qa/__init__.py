"""Question answering over several documents: metrics of answers, of retrieval, and of what a search took.

Published figures of HybridDeepSearcher compare with those of `reasonflow.evals.qa.hybrid_deep_searcher`.
"""

from reasonflow.evals.qa.area import auc_ac, auc_al, auc_at
from reasonflow.evals.qa.coverage import (
    evidence_coverage,
    mean_by_hop,
    passage_coverage,
    recall_at,
    recall_by_hop,
)
from reasonflow.evals.qa.fanout import loose, strict
from reasonflow.evals.qa.metrics import exact_match_metric, examples_of, f1_metric
from reasonflow.evals.qa.scores import measure, measure_all, summarise
from reasonflow.evals.qa.search import Query, Search
from reasonflow.evals.qa.squad import contains, exact_match, f1, normalised

__all__ = [
    "Query",
    "Search",
    "auc_ac",
    "auc_al",
    "auc_at",
    "contains",
    "evidence_coverage",
    "exact_match",
    "exact_match_metric",
    "examples_of",
    "f1",
    "f1_metric",
    "loose",
    "mean_by_hop",
    "measure",
    "measure_all",
    "normalised",
    "passage_coverage",
    "recall_at",
    "recall_by_hop",
    "strict",
    "summarise",
]
