"""Computing: one verb per file; the only place where images, models and AnnData meet."""

from kronos_sc._dense.options import DenseOptions
from kronos_sc._dense.probe import DenseProbe
from kronos_sc._methods.case_options import AttentionMIL, Composition, Logistic, MeanMLP
from kronos_sc.tl._aggregate import aggregate
from kronos_sc.tl._annotate import annotate
from kronos_sc.tl._ari import ari
from kronos_sc.tl._artifact_map import artifact_map
from kronos_sc.tl._attention import attention
from kronos_sc.tl._attention_summary import attention_summary
from kronos_sc.tl._batch_metrics import batch_metrics
from kronos_sc.tl._batch_silhouette import batch_silhouette
from kronos_sc.tl._case_retrieval import case_retrieval
from kronos_sc.tl._cluster import cluster
from kronos_sc.tl._dense_probe import dense_probe
from kronos_sc.tl._embed import embed
from kronos_sc.tl._enrichment import enrichment
from kronos_sc.tl._few_shot import few_shot
from kronos_sc.tl._guided_benchmark import guided_benchmark
from kronos_sc.tl._knn_probe import knn_probe
from kronos_sc.tl._linear_probe import linear_probe
from kronos_sc.tl._marker_ablation import marker_ablation
from kronos_sc.tl._motif_query import motif_query
from kronos_sc.tl._nhood_aggregate import nhood_aggregate
from kronos_sc.tl._niches import niches
from kronos_sc.tl._pca import pca
from kronos_sc.tl._predict_map import predict_map
from kronos_sc.tl._ratio_scores import ratio_scores
from kronos_sc.tl._retrieval_scores import retrieval_scores
from kronos_sc.tl._retrieve import retrieve
from kronos_sc.tl._stratify import stratify
from kronos_sc.tl._transfer import transfer

__all__ = [
    "AttentionMIL",
    "Composition",
    "DenseOptions",
    "DenseProbe",
    "Logistic",
    "MeanMLP",
    "aggregate",
    "annotate",
    "ari",
    "attention",
    "attention_summary",
    "artifact_map",
    "batch_metrics",
    "batch_silhouette",
    "case_retrieval",
    "cluster",
    "dense_probe",
    "embed",
    "enrichment",
    "few_shot",
    "guided_benchmark",
    "knn_probe",
    "linear_probe",
    "marker_ablation",
    "motif_query",
    "nhood_aggregate",
    "niches",
    "pca",
    "predict_map",
    "ratio_scores",
    "retrieval_scores",
    "retrieve",
    "stratify",
    "transfer",
]
