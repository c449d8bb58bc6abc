"""The weighted linear mixed model: ML and REML criteria, solutions, small-sample inference."""
