"""The table of proteins: consistent, complete for Table S2, and keeping apart what differs."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import pytest

from kronos_sc.markers import match, paper_vocabulary, recognise
from kronos_sc.markers._concepts import concepts, find
from kronos_sc.markers._spelling import fold, shorten

APART = [
    ("CD3", "CD30"),
    ("CD1A", "CD11A", "CD11B", "CD11C", "CD1B", "CD1C"),
    ("PD-1", "PD-L1", "PD-L2"),
    ("TCR-b", "TCR-gd", "TCR-Va7.2", "TCR alpha beta"),
    ("CD45", "CD45RA", "CD45RO", "CD45RB", "B220"),
    ("HLA-DR", "HLA-DRA", "HLA-1", "HLA-DRBPB", "HLA-DRB1", "HLA-A", "HLA-E", "HLA-DP"),
    ("H3K27AC", "H3K27ME3", "H3K9AC", "HH3", "pHH3", "H3K9me3", "DAPI"),
    ("IGA1", "IGA2", "IGD", "IGM", "IgG"),
    ("Collagen IV", "Collagen-1", "Collagen III", "Collagen VI"),
    ("Pan-Cytokeratin", "CK14", "CK818", "CK5", "Cytokeratin 7", "CK19"),
    ("BCL2", "BCL6", "BCL-XL", "BCL10"),
    ("CD16", "CD163", "CD164", "CD162"),
    ("CD20", "CD206", "CD2", "CD21", "CD23", "CD25", "CD209"),
    ("CD4", "CD40", "CD44", "CD45", "CD49a", "CD40L"),
    ("CD8", "CD8B", "CD80", "CD86", "CD83"),
    ("CD10", "CD103", "CD106", "CD107a", "CD107b", "CD105", "CD1"),
    ("CD31", "CD34", "CD35", "CD36", "CD38", "CD39"),
    ("CD5", "CD54", "CD56", "CD57"),
    ("CD6", "CD61", "CD66b", "CD66a", "CEA", "CD68", "CD69"),
    ("ER", "ERB", "PR", "AR", "HER2", "HER3", "EGFR"),
    ("ERK", "pERK"),
    ("RB", "pRB", "RAS", "KRAS", "RELA", "RELB"),
    ("MCT", "MCT1", "MCT4", "Chymase"),
    ("H2AX", "gamma-H2AX"),
    ("S100", "S100B", "S100A8", "S100A9", "S100A4"),
    ("SMA", "Actin", "Calponin"),
    ("b-Tubulin", "Tubb3", "alpha-tubulin"),
    ("E-Cadherin", "N-Cadherin", "VE-Cadherin", "P-Cadherin"),
    ("Lamin A/C", "Lamin B1", "Laminin"),
    ("GZMA", "GZMB", "GZMK", "Perforin"),
    ("Cleaved caspase 3", "Caspase 3", "Cleaved PARP"),
    ("MMP9", "MMP12"),
    ("MUC1", "MUC2", "MUC5AC", "MUC5B"),
    ("IL-1b", "IL-1a", "IL-10", "IL1RA"),
    ("TCF1", "TCF4", "LEF1"),
    ("SIGLEC-3", "SIGLEC-7", "SIGLEC-9", "SIGLEC-1"),
    ("IDH", "IDH1", "IDO"),
    ("CCR4", "CCR6", "CCR7", "CXCR5", "CXCR3"),
    ("p53", "53BP1", "p63", "TP53 S15 phospho"),
    ("TIM3", "TIM1", "TIM4", "TIGIT"),
    ("EBNA1", "EBNA2", "LMP1", "LMP2A"),
    ("CA9", "CA2", "CA12"),
    ("B7H3", "B7H4", "VISTA"),
]
SAME = {
    "CD20": "MS4A1 L26 cd-20",
    "CD45": "PTPRC LCA",
    "KI-67": "Ki67 MKI67 MIB-1 ki_67",
    "PD1": "PD-1 PDCD1 CD279",
    "PD-L1": "PDL1 CD274 B7-H1",
    "TIM3": "Tim3 HAVCR2 CD366",
    "LAG3": "Lag-3 CD223",
    "CD8": "CD8a CD8A",
    "CD3": "CD3e CD3D CD3ε",
    "a-SMA": "SMA aSMA αSMA ACTA2 alpha-SMA Alpha_Smooth_Muscle_Actin",
    "CYTOKERATIN": "PanCK Pan-Cytokeratin PanKeratin Keratin-pan CYTOKERITIN panCytokeratin AE1/AE3 KRT",
    "NAKATP": "NaK_ATPase Na-K-ATPase NaKATPase Na/K-ATPase ATP1A1",
    "b-CATENIN": "BetaCatenin beta-catenin β-catenin CTNNB1",
    "b2M": "Beta-2-microglobulin β2M B2M",
    "LAMINA": "LaminAC Lamin-A/C LMNA",
    "IDO1": "IDO IDO-1",
    "TCR-gd": "gdTCR TCRγδ TCR-gamma-delta TRDC",
    "GZMB": "Granzyme-B GranzymeB Granyzme_B GrzB",
    "CCR4": "CD194",
    "MUC1": "MUC-1 EMA CD227",
    "CD271": "CD271/NGFR NGFR LNGFR",
    "TCF1": "TCF7-TCF1 TCF7 TCF-1",
    "DC-SIGN": "CD209",
    "INOS": "NOS2 iNOS",
    "HLA-1": "HLA-Class-1 HLA_Class_1 MHCI MHC-I HLA-ABC HLA-A/B/C",
    "DAPI": "Hoechst HOECHST1 33342 Hoechst33342 DRAQ5 Iridium Ir191 193Ir DNA1 DNA_6 dsDNA SYTOX DAPI-01 dapi_cycle3",
    "HISTONE-H3": "HH3 H3 Histone-H3",
    "MCT": "Tryptase TPSAB1",
    "CD33": "SIGELC-3 SIGLEC-3 SIGLEC3",
    "CD54": "ICAM1 ICAM-1",
    "COLLAGEN": "CollagenIV Col4A1 collagen-4",
    "FOXP3": "Foxp3 FoxP3",
    "E-CADHERIN": "ECad E-Cad CDH1 ECadherin",
    "HER2": "ERBB2 c-erbB-2 HER-2/neu",
}
OTHERS = [
    "CD79a",
    "AR",
    "AP2B",
    "FOXA1",
    "ER",
    "ESR1",
    "PR",
    "Synaptophysin",
    "Chromogranin-A",
    "GFAP",
    "CDX2",
    "CD71",
    "MMP12",
    "MEF2B",
    "Serpin_B9",
]
OTHERS += [
    "NOXA",
    "FADD",
    "Helios",
    "CD62L",
    "CD90",
    "Kappa",
    "Lambda",
    "HO-1",
    "Arginase1",
    "IFNg",
    "CD9",
    "GZMK",
    "Perforin",
    "SOX10",
    "MART1",
]
OTHERS += [
    "PAX8",
    "TTF1",
    "ELANE",
    "CD43",
    "pSTAT3",
    "pS6",
    "c-myc",
    "IKZF3",
    "CXCR3",
    "Twist",
    "Slug",
    "vWF",
    "Laminin",
    "YBX1",
]


def test_no_spelling_belongs_to_two_concepts():
    owners = defaultdict(set)
    for concept in concepts().values():
        for alias in (concept.name, *concept.aliases):
            owners[fold(alias)].add(concept.name)
            owners[shorten(fold(alias))].add(concept.name)
    assert {spelling: names for spelling, names in owners.items() if len(names) > 1} == {}


def test_the_table_is_well_formed_and_large():
    every = concepts().values()
    assert {concept.kind for concept in every} == {"nuclear", "other", "nothing", "ambiguous"}
    assert sum(concept.is_marker for concept in every) >= 300
    assert [name for concept in every for name in concept.near if name not in concepts()] == []
    assert [concept.name for concept in every if not fold(concept.name)] == []


@pytest.mark.parametrize("group", APART, ids="|".join)
def test_different_proteins_are_never_merged(group):
    for one, other in combinations(group, 2):
        assert find(one) is None or find(one) != find(other), (one, other)
    markers = [name for name in match(group, paper_vocabulary())["marker"] if name]
    assert len(markers) == len(set(markers))


@pytest.mark.parametrize(
    ("name", "spelling"), [(name, each) for name, all_of in SAME.items() for each in all_of.split()]
)
def test_spellings_of_one_protein(name, spelling):
    assert recognise(spelling) == name


@pytest.mark.parametrize("name", OTHERS)
def test_proteins_outside_table_s2_are_known_and_not_matched(name):
    panel = match([name], paper_vocabulary())
    assert recognise(name) is not None
    assert panel.loc[0, "how"] == "dropped"
    assert panel.loc[0, "note"].startswith("known protein")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("IgA", "IGA1, IGA2"),
        ("CK-EPCAM", "CYTOKERATIN, EPCAM"),
        ("HLA-DR-DQ-DP", "HLA-DR, HLA-DRA"),
        ("MastChyTry", "MCT"),
        ("CD3/CD20", "CD3, CD20"),
        ("1261726In113Di Histone", "HISTONE-H3, H3K27AC, H3K27ME3, pHH3"),
        ("Cytoker_651((3356))Pr141", "CYTOKERATIN"),
        ("TCR", "TCR-b, TCR-gd, TCR-Va7.2"),
        ("CD11b/c", "CD11B, CD11C"),
        ("MHC class II", "HLA-DR, HLA-DRA"),
    ],
)
def test_names_of_several_proteins_are_ambiguous(name, near):
    panel = match([name], paper_vocabulary())
    assert panel.loc[0, ["marker", "how", "near"]].tolist() == ["", "ambiguous", near]
    assert recognise(name) is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CK14", "CYTOKERATIN"),
        ("Collagen-1", "COLLAGEN"),
        ("H3K9Ac", "H3K27AC"),
        ("CD3-1", "CD3"),
        ("CD4_4", "CD4"),
        ("CD79A", ""),
        ("CD322", ""),
    ],
)
def test_only_kin_is_offered_and_never_a_similar_name(name, near):
    assert match([name], paper_vocabulary()).loc[0, "near"] == near


@pytest.mark.parametrize(
    "name", ["", "cell_id:cell_id", "STAT3 (phospho Y9)", "nonsense", "Nuc", "nucleus", "X_withinTile:X_withinTile"]
)
def test_unknown_names_are_not_recognised(name):
    assert recognise(name) is None


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("rb 53BP1 Cy5", "53BP1"),  # names that begin with a digit
        ("ms 4-1BB", "CD137"),
        ("rb 5hmC", "5HMC"),
        ("rb a-Tubulin", "A-TUBULIN"),  # "a-" may be anti-, or alpha
        ("rb a-synuclein", "ASYN"),
        ("GP IIb (rabbit)", "CD41"),  # the animal in brackets goes before what may be one
        ("RB phospho (rabbit)", "PRB"),
        ("SP7", None),
        ("Rb 4H1", None),
    ],
)
def test_hosts_leave_names_whole(channel, name):
    assert recognise(channel) == name
