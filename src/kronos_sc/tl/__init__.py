"""Computing: one verb per file; the only place where images, models and AnnData meet."""

from kronos_sc._methods.case_options import AttentionMIL, Composition, Logistic, MeanMLP
from kronos_sc.tl._aggregate import aggregate
from kronos_sc.tl._annotate import annotate
from kronos_sc.tl._ari import ari
from kronos_sc.tl._batch_metrics import batch_metrics
from kronos_sc.tl._batch_silhouette import batch_silhouette
from kronos_sc.tl._case_retrieval import case_retrieval
from kronos_sc.tl._cluster import cluster
from kronos_sc.tl._embed import embed
from kronos_sc.tl._enrichment import enrichment
from kronos_sc.tl._few_shot import few_shot
from kronos_sc.tl._guided_benchmark import guided_benchmark
from kronos_sc.tl._knn_probe import knn_probe
from kronos_sc.tl._linear_probe import linear_probe
from kronos_sc.tl._motif_query import motif_query
from kronos_sc.tl._nhood_aggregate import nhood_aggregate
from kronos_sc.tl._niches import niches
from kronos_sc.tl._pca import pca
from kronos_sc.tl._ratio_scores import ratio_scores
from kronos_sc.tl._retrieval_scores import retrieval_scores
from kronos_sc.tl._retrieve import retrieve
from kronos_sc.tl._stratify import stratify
from kronos_sc.tl._transfer import transfer

__all__ = [
    "AttentionMIL",
    "Composition",
    "Logistic",
    "MeanMLP",
    "aggregate",
    "annotate",
    "ari",
    "batch_metrics",
    "batch_silhouette",
    "case_retrieval",
    "cluster",
    "embed",
    "enrichment",
    "few_shot",
    "guided_benchmark",
    "knn_probe",
    "linear_probe",
    "motif_query",
    "nhood_aggregate",
    "niches",
    "pca",
    "ratio_scores",
    "retrieval_scores",
    "retrieve",
    "stratify",
    "transfer",
]
