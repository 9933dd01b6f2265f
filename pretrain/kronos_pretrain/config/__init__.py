"""Settings: typed, validated, from TOML and the command line."""

from kronos_pretrain.config.check import check, check_machine
from kronos_pretrain.config.compare import Difference, differences, require_same
from kronos_pretrain.config.read import find, from_dict, load, shipped_configs
from kronos_pretrain.config.schema import Config
from kronos_pretrain.config.write import dump

__all__ = [
    "Config",
    "load",
    "find",
    "from_dict",
    "shipped_configs",
    "check",
    "check_machine",
    "dump",
    "differences",
    "Difference",
    "require_same",
]
