"""Inference from a fit: tests, intervals, analysis of deviance, criteria, estimability."""
