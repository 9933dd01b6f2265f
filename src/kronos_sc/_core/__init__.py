"""What every room shares: slot names, settings, wording of errors, logging, progress, provenance."""
