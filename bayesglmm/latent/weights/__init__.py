"""Importance weights of draws from an approximation: proposals, ratios, Pareto k-hat."""
