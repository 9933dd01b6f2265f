"""Settings: typed, validated, from TOML and the command line."""
