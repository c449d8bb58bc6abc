"""Diagnostics of a fit: residuals, influence, checks, and one figure."""
