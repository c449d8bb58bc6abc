"""One generalized linear mixed model, every method worth comparing."""
