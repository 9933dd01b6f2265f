"""Networks: one architecture per file; torch and nothing of this package but its layers."""
