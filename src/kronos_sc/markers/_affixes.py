"""What instruments, vendors and people write around the name of a marker, as patterns.

Each is a convention that is public: isotopes of mass cytometry, reporters and dyes in catalogues, cycles of acquisition
software, host species as antibody lists abbreviate them. A pattern says what a word can mean; whether it does is
decided in `_spelling`, by what is left.
"""

from __future__ import annotations

EDGE = r"(?<![A-Za-z0-9])"
END = r"(?![A-Za-z0-9])"

_METALS = "Ag|Ar|Au|Ba|Bi|Br|Ce|Dy|Er|Eu|Gd|Ho|In|Ir|La|Lu|Nd|Pb|Pd|Pr|Pt|Rh|Ru|Sm|Sn|Ta|Tb|Te|Tm|Xe|Yb"
_MASS = r"(?:7[5-9]|[89]\d|1\d\d|20\d)"
# Cadmium only as "112Cd", since "Cd112" would be the protein CD112, unless an export adds the ion ("Cd112Di"); yttrium
# and iodine only with their one mass, since Y204 is a phosphorylated tyrosine. The digits in front of "Tm169Di" are a
# lot number.
METAL = (
    rf"(?:(?:X?\d*(?:{_METALS}){_MASS}"
    rf"|\d*(?:Y89|I127)|X?{_MASS}(?:{_METALS}|Cd|ArAr)|89Y|127I)(?:Di|Dd)?|Cd1[01]\dD[id])"
)
METAL_GLUED = rf"(?<=[A-Za-z0-9])(?:{_METALS})1\d\d(?:Di)?$"  # CD8aDy162; in this case of letters only
METAL_CALL = rf"\b({_METALS}|Y|I)\((\d{{2,3}})\)"
# "Er-170", in this case of letters only: "ER-166" would be the receptor and a lot.
METAL_APART = rf"(?-i:{EDGE}(?:(?:{_METALS})[ -]1\d\d|1\d\d[ -](?:{_METALS})){END})"
ION = r"(?<=\))(?:Di|Dd)\b"  # CD3(Er170)Di
INTERCALATOR = r"Ir ?-?19[13]|19[13] ?-?Ir"

CYCLE = (
    r"(?:cyc(?:le)?|round|rnd|reg(?:ion)?|ch(?:an(?:nel)?)?|tile|fov|roi|tma|slide|scan|well|run|panel|pyr"
    r"|stain(?:ing)?)[ _\-.#:]*\d+"
    r"|R\d{1,3}C\d{1,3}|[RC]\d{1,3}(?![/\-]144)|S0\d+|X\d{2,3}[_\-]Y\d{2,3}|cy[ _\-]?[1468]|z\d{1,2}"
)
EXPOSURE = (
    r"(?:exp(?:osure)?|gain|time)[ _\-.:]*\d+(?:[.p]\d+)?(?:[ _\-]?m?s(?:ec)?)?|\d+(?:[.p]\d+)?m?s(?:ec)?"
    r"|(?<!CD[ _\-])\d{3,4}[ _\-]ms(?:ec)?|\d{3}[ _\-]?nm|1 ?[:/] ?\d{2,5}"
)
_ALEXA = "350|405|430|488|514|532|546|555|568|594|610|633|635|647|660|680|700|750|790"
_CYANINE = r"cy(?:anine)?[ _\-]?[2357](?:\.5)?"
DYE = (
    r"(?:alexa[ _\-]*(?:fluor)?[ _\-]*(?:plus)?|af[ _\-]*(?:plus)?|opal(?:[ _\-]*polaris)?|polaris|atto|dylight"
    r"|dl|cf|bv|buv|bb|e?fluor|ef|qd(?:ot)?|irdye"
    r"|coralite|cl|i?fluor|if|hilyte|janelia[ _\-]?fluor|jf|sb|super[ _\-]?bright|dazzle|fire|nova[ _\-]?fluor"
    r"|nf[byr]|vio|brilliant[ _\-]?violet"
    r"|spark[ _\-]?(?:blue|yg|nir|uv|violet|red)|real(?:blue|yellow)|star[ _\-]?(?:red|orange|green)?"
    r"|abberior|argo(?:[ _\-]?fluor)?)[ _\-]*\d{3}[a-z]{0,2}(?:[ _\-]?plus)?"
    rf"|a[ _\-]*(?:{_ALEXA})|r[by]\d{{3}}|r7(?:18|00)|[ABR]X\d{{3}}"  # the last are barcodes of PhenoCycler
    rf"|(?:sulfo[ _\-]*)?{_CYANINE}|fitc|tritc|rhodamine|tamra|pe(?:[ _\-/]{_CYANINE})?|apc(?:[ _\-/]h7)?|percp"
    rf"|texas[ _\-]?red"
    r"|pacific[ _\-]?(?:blue|orange)|vio(?:blue|green)|tsa|biotin"
)
# What was done to the pixels, and what the thing is.
WORDS = (
    r"anti|human|antibody|[mp]ab|monoclonal|polyclonal|recombinant|ome\.tiff?|tiff?|af[ _\-]?removed"
    r"|bg[ _\-]?sub(?:tracted)?"
    r"|raw|registered|stitched|marker|target|(?<!nuclear )(?<!nucleus )stain(?:ing|ed)?|signal"
)

# Lists of antibodies put the animal in front ("rb CD3e") or behind. "ck" for chicken is left out: CK is cytokeratin.
HOSTS = (
    r"rb|rbt|rab|rabbit|rat|rt|ms|mse|mo|mouse|murine|gt|goat|sh|shp|sheep|dk|dky|donkey|gp|guinea[ _\-]?pig"
    r"|(?:armenian|syrian)?[ _\-]?ham(?:ster)?|hm|chicken|chk|hu|human|llama|alpaca|bovine|horse|swine|pig"
)
VENDORS = (
    r"cst|cell[ _\-]?signall?ing(?:[ _\-]?tech\w*)?|nov(?:us)?(?:[ _\-]?bio\w*)?|bio[ _\-]?t(?:echne)?"
    r"|bio[ _\-]?leg(?:end)?|biol|bd(?:[ _\-]?bio\w*)?"
    r"|pharmingen|abcam|abclonal|invitrogen|thermo(?:[ _\-]?(?:fisher|scientific))*|life[ _\-]?tech\w*"
    r"|e[ _\-]?bio(?:science)?|r ?& ?d(?:[ _\-]?systems)?|rnd"
    r"|dako|agilent|ventana|roche|leica|novocastra|santa[ _\-]?cruz|scbt|(?:emd[ _\-]?)?millipore|merck"
    r"|sigma(?:[ _\-]?aldrich)?|atlas|proteintech|ptg"
    r"|bethyl|fluidigm|sbt|standard[ _\-]?biotools|dvs|miltenyi|akoya|ultivue|lunaphore|ionpath|epredia|biocare"
    r"|bio[ _\-]?sb|cell[ _\-]?marque"
    r"|gene[ _\-]?tex|origene|ls[ _\-]?bio|bio[ _\-]?rad|serotec|abnova|enzo|dshb|jackson|bioss"
    r"|bio[ _\-]?x[ _\-]?cell|southern[ _\-]?biotech|perkin[ _\-]?elmer|sysy|wako"
)
# Numbers of catalogues: each vendor's own form, or at least four digits after a "#".
CATALOGUE = (
    r"ab\d{4,}(?:-\d+)?|sc-?\d{3,6}|NBP\d-\d+|NB\d+-\d+|[MP]A\d-\d+|MAB\d{3,}\w?|AF\d{4,5}|AMAB\d+|HPA\d{4,}"
    r"|[AM]0\d{3}|(?:IR|IS|GA)\d{3}|GTX\d+"
    r"|[RM][MS]-\d{3,}-\w+|LS-[ABC]\d+|\d{4,5}(?:S|T|P|L|B|BF|SF)|\d{2}-\d{4}(?:-\d{2,3})?|#\d+\w?"
)
# Forms of which a clone can be told, and the usual ones by name: a word such as "A16" behind S100 makes another
# protein, so that nothing is guessed.
CLONES = (
    r"clone[ _\-].*|SP\d{1,3}|EPR?\d+[A-Z]?(?:-\d+|\(\d\))?|[DE]\d{1,2}[A-Z]\d{1,2}[A-Z]?|MRQ-?\d+|UMAB\d+"
    r"|REAL?\d{3,4}|BLR\d+[A-Z]|RPA-?\w\d{1,2}"
    r"|QBEND/?10|C8[/\-]?144B|236A/?E7|PG-?M1|MIB-?1|KP1|L26|UCHL1|UCHT1|22C3|28-8|10D6|10F6|2B11(?:\+PD7/26)?"
    r"|PD7/26|4B12|4S\.?B5|HI100"
    r"|OKT[348]|JC/?70A|LN10|NAT105|MX-PD1|B56|1A4|24E10|EH33|EH12(?:\.2H7)?|17B4|123C3|RNL1|TB0?1|MMA|D2-?40"
    r"|DO-?[17]|E6H4|4B5|E29|AE1/?AE3"
    r"|3G8|2H7|1F6|56C6|GrB-?7|11D3|SK[137]|HIT[38]a|HIB19|M5E2|MEM-?\d+|MIH1|5H1|29E\.2A3|G43-25B|HCD\d+"
    r"|M1310G05|H4A3|Bly3|G10F5|EBVCS-?\d"
)
