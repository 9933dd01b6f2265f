"""What dense probes and maps share: regions, windows, tokens, classifiers of tokens, maps as elements."""
